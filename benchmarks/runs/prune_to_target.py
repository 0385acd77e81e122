"""Prune a copy of a network to a comparison's target with the package's own ``prune``, whatever the criterion."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from ... import PruneReport, TargetError, prune
from ...adapters.prune.cost_model import TOLERANCE
from ...utils.layers import layer_width
from ..criteria.spec import Rule
from ..errors import BenchmarkError
from ..suites.targets import Target
from .cached_scores import CachedScores
from .two_targets import params_heavy_ratio

_FIXED: dict[str, Any] = {"compensate": None, "reestimate_bn": False, "measure_latency": False}


class UnreachableTargetError(BenchmarkError, ValueError):
    """No removal of channels gives a network near enough to the target."""


@dataclass(frozen=True)
class PrunedModel:
    """A pruned copy and how much of it was removed.

    Attributes:
        model: the copy, in eval mode.
        pruning_ratio: the share of the channels that was removed, over all coupled groups.
        removed: removed output channels, by the layer at the root of each coupled group.
    """

    model: nn.Module
    pruning_ratio: float
    removed: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, model: nn.Module, report: PruneReport) -> PrunedModel:
        """The outcome of a call of ``prune``."""
        removed = {
            group.name: tuple(
                part * group.selection.num_channels + channel
                for part in range(group.channel_groups)
                for channel in group.selection.removed
            )
            for group in report.groups
        }
        return cls(model, report.removed / report.channels if report.channels else 0.0, removed)


def layer_widths(model: nn.Module) -> dict[str, int]:
    """Output channels of every convolution and Linear layer, by the layer's name."""
    return {
        name: layer_width(module, "output") or 0
        for name, module in model.named_modules()
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))
    }


def ignored(model: nn.Module, patterns: tuple[str, ...]) -> list[str]:
    """Names of the layers that any of the patterns fits; ``*`` matches anything.

    Raises:
        BenchmarkError: if a pattern fits no layer.
    """
    names = list(layer_widths(model))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise BenchmarkError(f"ignored_layers: {pattern!r} fits no layer of {type(model).__name__}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def prune_by_rule(
    model: nn.Module, images: torch.Tensor, rule: Rule, *, ignored_layers: tuple[str, ...] = (), **options: Any
) -> PrunedModel:
    """Prune a copy of ``model`` by the published rule, which itself decides how many channels are removed.

    Args:
        model: unchanged.
        images: calibration images (N, C, H, W).
        rule: t and s.
        ignored_layers: patterns of the layers that keep all channels.
        options: ``compensate`` and ``reestimate_bn``, as for :func:`~foad_plugins.prune`.
    """
    pruned = copy.deepcopy(model).eval()
    layers = ignored(model, ignored_layers)
    report = prune(pruned, images, rule.neighbors, rule.threshold, layers, **_FIXED | options)
    return PrunedModel.of(pruned, report)


def prune_to_target(
    model: nn.Module,
    images: torch.Tensor,
    importance: CachedScores,
    target: Target,
    *,
    tolerance: float,
    ignored_layers: tuple[str, ...] = (),
    **options: Any,
) -> PrunedModel:
    """Prune a copy of ``model`` to the target's size.

    With local ranking every criterion that scores all groups gives the same widths.

    Args:
        model: unchanged.
        images: calibration images (N, C, H, W).
        importance: called once for each group.
        target: the size to prune to; not empty.
        tolerance: largest distance from the target, as a fraction of the unpruned model's FLOPs or parameters.
        ignored_layers: patterns of the layers that keep all channels.
        options: ``ranking``, ``compensate`` and ``reestimate_bn``, as for :func:`~foad_plugins.prune`.

    Raises:
        UnreachableTargetError: if the pruned network is not within the tolerance; gives the nearest size.
        CriterionError: if the criterion fails, or gives no score a channel.
        ValueError: if the tolerance is out of range, or the target is empty.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance: a fraction of the model's cost, at least 0, got {tolerance!r}")
    layers = ignored(model, ignored_layers)
    shares = shares_kept(model, images, target, layers)
    if not shares:
        raise ValueError("target: none is given; a criterion that stops by its own rule is pruned by prune_by_rule")
    options = {**_FIXED, "ranking": "local", **shares, "importance": importance, "ignored_layers": layers, **options}
    try:
        if len(shares) == 2 and options.get("ranking") != "sensitivity":
            ratios = params_heavy_ratio(model, images, layers, tolerance=tolerance, **shares)
            options |= {"params": None, "pruning_ratio_dict": ratios}
        pruned = copy.deepcopy(model).eval()
        report = prune(pruned, images, **options)
    except TargetError as error:
        raise UnreachableTargetError(str(error)) from error
    except ValueError as error:
        if isinstance(error.__cause__, BenchmarkError):
            # That error names the criterion; prune's own names CachedScores. The criterion's error remains its
            # cause: the traceback must lead into the user's code.
            raise error.__cause__ from error.__cause__.__cause__
        raise
    _check(report, shares, tolerance)
    return PrunedModel.of(pruned, report)


def shares_kept(model: nn.Module, images: torch.Tensor, target: Target, layers: list[str]) -> dict[str, float]:
    """The shares of FLOPs and parameters to keep, by their names as options of ``prune``; each in (0, 1)."""
    if target.operating_point is not None:
        rule = target.operating_point
        outcome = prune(model, images, rule.neighbors, rule.threshold, layers, dry_run=True, measure_latency=False)
        if outcome.flops_before is None or outcome.flops_after is None:
            raise UnreachableTargetError("fvcore cannot count the FLOPs of this network")
        if outcome.flops_after == outcome.flops_before:
            raise UnreachableTargetError(f"the published rule ({rule}) removes nothing from this network")
        return {"flops": outcome.flops_after / outcome.flops_before}
    asked = {"flops": target.flops_reduction, "params": target.params_reduction}
    return {name: 1 - share for name, share in asked.items() if share is not None}


def _check(report: PruneReport, shares: Mapping[str, float], tolerance: float) -> None:
    if report.flops_before is None or report.flops_after is None:
        raise UnreachableTargetError("fvcore cannot count the FLOPs of this network")
    reached = {
        "flops": report.flops_after / report.flops_before,
        "params": report.params_after / report.params_before,
    }
    for name, share in shares.items():
        if abs(reached[name] - share) > tolerance:
            why = "no widths are nearer" if tolerance >= TOLERANCE else f"the search ends within {TOLERANCE:.0%}"
            raise UnreachableTargetError(
                f"pruning ended at {reached[name]:.2%} of the network's {name}, not within {tolerance:.2%} of "
                f"{share:.2%}: {why}"
            )
