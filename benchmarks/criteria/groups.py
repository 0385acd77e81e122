"""The layers that produce a coupled group's channels, and their scores in the group's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch_pruning as tp
from torch import nn

LayerScore: TypeAlias = Callable[[nn.Module], torch.Tensor]
"""A layer to one score for each of its output channels."""


def has_filters(layer: object) -> bool:
    """Whether a layer is a convolution or Linear."""
    return isinstance(layer, nn.modules.conv._ConvNd | nn.Linear)


def producers(
    group: tp.dependency.Group, of: Callable[[object], bool] = has_filters
) -> list[tuple[nn.Module, list[tuple[int, int]]]]:
    """The convolutions and Linear layers that produce the group's channels.

    Args:
        group: a Torch-Pruning group; it may hold a subset of the channels.
        of: which layers to return instead, among those that produce the group's channels.

    Returns:
        For each such layer the pairs (output channel, root channel). Pairs, because Torch-Pruning's lists
        may be unsorted, repeat a root channel or lack one (None; those pairs are left out).
    """
    found: list[tuple[nn.Module, list[tuple[int, int]]]] = []
    for item in group:
        layer: Any = item.dep.layer
        if not of(layer) or not group._DG.is_out_channel_pruning_fn(item.dep.pruning_fn):
            continue
        pairs = [(i, root) for i, root in zip(item.idxs, item.root_idxs, strict=True) if root is not None]
        if pairs:
            found.append((layer, pairs))
    return found


def by_filter(layer: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    """A tensor of the form of a layer's weight as (out_channels, weights of a filter)."""
    if not getattr(layer, "transposed", False):
        return weight.flatten(1)
    # (in, out / groups, ...) with the groups along the first dimension.
    assert isinstance(layer.groups, int)
    return weight.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1).flatten(1)


def group_totals(
    group: tp.dependency.Group, layer_score: LayerScore, of: Callable[[object], bool] = has_filters
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the layers that produce a group, summed by root channel.

    Args:
        group: a Torch-Pruning group; it may hold a subset of the channels.
        layer_score: scores of a layer.
        of: which layers count.

    Returns:
        The sums, and over how many output channels they run: float64, one for each root channel in the order of
        ``group[0]``.
    """
    roots = {root: place for place, root in enumerate(group[0].root_idxs)}
    total = torch.zeros(len(roots), dtype=torch.float64)
    count = torch.zeros(len(roots), dtype=torch.float64)
    for layer, pairs in producers(group, of):
        channels = torch.tensor([channel for channel, _ in pairs])
        places = torch.tensor([roots[root] for _, root in pairs])
        total.index_add_(0, places, layer_score(layer).detach().cpu().double()[channels])
        count.index_add_(0, places, torch.ones(len(pairs), dtype=torch.float64))
    return total, count


def group_score(
    group: tp.dependency.Group, layer_score: LayerScore, of: Callable[[object], bool] = has_filters
) -> torch.Tensor | None:
    """Score a group by the layers that produce it: a root channel gets the mean over its output channels.

    Args:
        group: a Torch-Pruning group; it may hold a subset of the channels.
        layer_score: scores of a layer.
        of: which layers count.

    Returns:
        One float32 score for each root channel, in the order of ``group[0]``, or None if there is a channel that no
        such layer produces.
    """
    total, count = group_totals(group, layer_score, of)
    return (total / count).float() if (count > 0).all() else None


def first_score(group: tp.dependency.Group, layer_score: LayerScore) -> torch.Tensor | None:
    """Score a group by the first layer in it that produces a channel, a depthwise one only if there is no other.

    Args:
        group: a Torch-Pruning group; it may hold a subset of the channels.
        layer_score: scores of a layer.

    Returns:
        As :func:`group_score`.
    """
    found: dict[int, float] = {}
    for layer, pairs in sorted(producers(group), key=lambda producer: _depthwise(producer[0])):
        scores = layer_score(layer).detach().cpu().double().tolist()
        # The first layer that is found decides.
        found = {root: scores[channel] for channel, root in reversed(pairs)} | found
    roots = group[0].root_idxs
    return torch.tensor([found[root] for root in roots]) if all(root in found for root in roots) else None


def _depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.conv._ConvNd) and layer.groups == layer.out_channels > 1
