"""Two targets: the ratio of parameter-heavy layers with which both FLOPs and parameters are met."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch_pruning.pruner.importance import MagnitudeImportance

from ... import PruneReport, TargetError, prune

_HALVINGS = 10
_CLOSE_ENOUGH = 4
"""The search ends at this fraction of the tolerance."""
_IMAGES = 2


def dense_layers(report: PruneReport, model: nn.Module) -> list[str]:
    """The layers with many parameters for their FLOPs: those with small maps.

    The border is the middle, on a logarithmic scale, between the layers with most and fewest.

    Args:
        report: of any pruning of the model; names the root layer of each coupled group and the cost of each layer.
        model: unpruned.
    """
    costs = {layer.name: layer.flops_before for layer in report.layers}
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    density = {
        group.name: math.log(sizes[f"{group.name}.weight"] / flops)
        for group in report.groups
        if (flops := costs.get(group.name))
    }
    if not density:
        return []
    line = (max(density.values()) + min(density.values())) / 2
    return [name for name, value in density.items() if value > line]


def params_heavy_ratio(
    model: nn.Module, images: torch.Tensor, ignored_layers: list[str], *, flops: float, params: float, tolerance: float
) -> dict[str, float]:
    """Ratios for the parameter-heavy layers with which one network meets a FLOPs and a parameter target.

    Found by bisection on dry runs with two images, ranked by magnitude: with local ranking widths do not depend on
    what the channels are ranked by.

    Args:
        model: unchanged.
        images: calibration images (N, C, H, W).
        ignored_layers: names of layers that keep all channels.
        flops: share of the FLOPs to keep, in (0, 1).
        params: share of the parameters to keep, in (0, 1).
        tolerance: largest distance from ``params``.

    Returns:
        The pruning ratio of each such layer, by its name.

    Raises:
        TargetError: if no ratio gives both.
    """

    def outcome(ratios: dict[nn.Module | str, float]) -> PruneReport:
        return prune(
            model,
            images[:_IMAGES],
            flops=flops,
            pruning_ratio_dict=ratios or None,
            importance=MagnitudeImportance(),
            ignored_layers=ignored_layers,
            ranking="local",
            compensate=None,
            reestimate_bn=False,
            verify=False,
            dry_run=True,
            measure_latency=False,
        )

    layers = dense_layers(outcome({}), model)
    best, nearest = 0.0, math.inf
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS if layers else 0):
        ratio = (low + high) / 2
        try:
            report = outcome(dict.fromkeys(layers, ratio))
        except TargetError:
            # These layers alone lose more FLOPs than the target, or so few that the others cannot lose the rest.
            high = ratio
            continue
        share = report.params_after / report.params_before
        if abs(share - params) < abs(nearest - params):
            best, nearest = ratio, share
        if abs(share - params) <= tolerance / _CLOSE_ENOUGH:
            break
        low, high = (ratio, high) if share > params else (low, ratio)
    if abs(nearest - params) <= tolerance:
        return dict.fromkeys(layers, best)
    found = f"the nearest had {nearest:.1%} of the parameters" if math.isfinite(nearest) else "none met the FLOPs"
    raise TargetError(f"no widths end at {flops:.1%} of the FLOPs and {params:.1%} of the parameters; {found}")
