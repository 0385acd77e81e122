"""Prune a copy of a network to a FLOPs target with the package's own ``prune``, whatever the criterion."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from .. import prune
from ..adapters.prune import TargetError
from .errors import BenchmarkError
from .scoring import ScoreBook

__all__ = ["FlopsTargetError", "PrunedModel", "layer_widths", "prune_to_flops"]


class FlopsTargetError(BenchmarkError, ValueError):
    """No removal of channels brings the network near enough to the FLOPs target."""


@dataclass(frozen=True)
class PrunedModel:
    """A pruned copy and how much of it went.

    Attributes:
        model: the copy, in eval mode.
        pruning_ratio: the share of the channels that went, over all coupled groups.
    """

    model: nn.Module
    pruning_ratio: float


def layer_widths(model: nn.Module) -> dict[str, int]:
    """Output channels of every convolution and Linear layer, by the layer's name."""
    widths = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            widths[name] = module.out_channels
        elif isinstance(module, nn.Linear):
            widths[name] = module.out_features
    return widths


def prune_to_flops(
    model: nn.Module,
    images: torch.Tensor,
    importance: ScoreBook,
    *,
    flops: float,
    tolerance: float,
    ranking: Literal["local"] = "local",
    compensate: str | None = None,
    reestimate_bn: bool = False,
) -> PrunedModel:
    """Prune a copy of ``model`` by :func:`~foad_plugins.prune`.

    With local ranking every criterion that scores all groups ends at the same widths.

    Args:
        model: left as it is.
        images: calibration images (N, C, H, W).
        importance: asked once for each group.
        flops: share of the model's FLOPs to end at, in (0, 1).
        tolerance: how far the result may be off, as a fraction of the unpruned model's FLOPs.
        ranking: how groups compete.
        compensate: how readers take over what is removed, None for not at all.
        reestimate_bn: whether to move the statistics of batch normalisation.

    Raises:
        FlopsTargetError: if the pruned network does not end within the tolerance; says how near it came.
        ValueError: if the target or the tolerance is out of range.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance: a fraction of the model's FLOPs, at least 0, got {tolerance!r}")
    pruned = copy.deepcopy(model).eval()
    try:
        report = prune(
            pruned,
            images,
            flops=flops,
            importance=importance,
            ranking=ranking,
            compensate=compensate,
            reestimate_bn=reestimate_bn,
            measure_latency=False,
        )
    except TargetError as error:
        raise FlopsTargetError(str(error)) from error
    if report.flops_before is None or report.flops_after is None:
        raise FlopsTargetError("fvcore cannot count the FLOPs of this network")
    reached = report.flops_after / report.flops_before
    if abs(reached - flops) > tolerance:
        raise FlopsTargetError(
            f"widths allow no nearer to {flops:.1%} of {report.flops_before} FLOPs than {reached:.1%}, which is not "
            f"within {tolerance:.1%}"
        )
    channels = sum(group.selection.num_channels * group.parts for group in report.groups)
    return PrunedModel(pruned, report.removed / channels)
