"""Prune a copy of a network to a FLOPs target with Torch-Pruning, whatever the criterion."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch_pruning as tp
from torch import nn

from .. import count_flops
from .errors import BenchmarkError
from .scoring import ScoreBook

__all__ = ["FlopsTargetError", "PrunedModel", "layer_widths", "prune_at_ratio", "prune_to_flops"]

_RESOLUTION = 1e-4
"""The search ends when the ratio is known this well: less than one channel in a group of up to 10,000."""


class FlopsTargetError(BenchmarkError, ValueError):
    """No pruning ratio brings the network near enough to the FLOPs target."""


@dataclass(frozen=True)
class PrunedModel:
    """A pruned copy and how it came about.

    Attributes:
        model: the copy, in eval mode.
        pruning_ratio: the share of channels Torch-Pruning was told to remove in every group.
        flops: of one image after pruning, in fvcore's unit.
        seconds_to_score: wall-clock time the criterion took for all groups, its calibration included.
    """

    model: nn.Module
    pruning_ratio: float
    flops: int
    seconds_to_score: float


def layer_widths(model: nn.Module) -> dict[str, int]:
    """Output channels of every convolution and Linear layer, by the layer's name."""
    widths = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            widths[name] = module.out_channels
        elif isinstance(module, nn.Linear):
            widths[name] = module.out_features
    return widths


def prune_at_ratio(
    model: nn.Module,
    example: torch.Tensor,
    importance: ScoreBook,
    ratio: float,
    ignored: Sequence[str] = (),
) -> nn.Module:
    """A copy of ``model`` without the share ``ratio`` of each group's channels, ranked within the group.

    Args:
        model: left as it is.
        example: one batch the model takes.
        importance: gives the scores.
        ratio: in [0, 1).
        ignored: names of layers whose outputs stay.
    """
    pruned = copy.deepcopy(model).eval()
    tp.pruner.BasePruner(
        pruned,
        # A tuple, because Torch-Pruning first tries model(*example), which would unpack the batch.
        (example,),
        importance=importance,
        pruning_ratio=ratio,
        ignored_layers=[pruned.get_submodule(name) for name in ignored],
        # Torch-Pruning writes into its default dicts, which all pruners of a process would share.
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    ).step()
    return pruned


def prune_to_flops(
    model: nn.Module,
    example: torch.Tensor,
    importance: ScoreBook,
    *,
    target: float,
    tolerance: float,
    ignored: Sequence[str] = (),
) -> PrunedModel:
    """Prune a copy of ``model`` as near to ``target`` FLOPs as one ratio for all groups allows, by bisection.

    Channels are ranked within their group, so every criterion that scores all groups ends at the same widths.

    Args:
        model: left as it is.
        example: one image as a batch; FLOPs are counted for it.
        importance: asked once for each group.
        target: FLOPs to end at, in fvcore's unit, above 0 and at most the model's.
        tolerance: how far the result may be off, as a fraction of the unpruned model's FLOPs.
        ignored: names of layers whose outputs stay.

    Raises:
        FlopsTargetError: if no ratio ends within the tolerance; says how near it came.
        ValueError: if target or tolerance is out of range.
    """
    base_flops = count_flops(model, example)
    if not 0 < target <= base_flops:
        raise ValueError(f"target: above 0 and at most the model's {base_flops} FLOPs, got {target!r}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance: a fraction of the model's FLOPs, at least 0, got {tolerance!r}")

    def attempt(ratio: float) -> PrunedModel:
        pruned = prune_at_ratio(model, example, importance, ratio, ignored)
        return PrunedModel(pruned, ratio, count_flops(pruned, example), importance.seconds)

    best = attempt(0.0)
    low, high = 0.0, 1 - 1 / importance.narrowest
    while high - low > _RESOLUTION and best.flops != target:
        probe = attempt((low + high) / 2)
        if abs(probe.flops - target) < abs(best.flops - target):
            best = probe
        if probe.flops > target:
            low = probe.pruning_ratio
        else:
            high = probe.pruning_ratio
    if abs(best.flops - target) > tolerance * base_flops:
        raise FlopsTargetError(
            f"no pruning ratio ends within {tolerance:.1%} of {base_flops} FLOPs around {target:.0f}: "
            f"the nearest is {best.flops} at ratio {best.pruning_ratio:.4f}"
        )
    return best
