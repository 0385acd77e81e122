"""Reports made by hand, as pruning would return them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from foad_plugins import GroupReport, LayerWidth, PruneReport, Selection, channel_similarity, greedy_select
from foad_plugins.report.data import ChannelPair

HOSTILE = "<script>alert(1)</script>\"&'{{ 7 * 7 }}$x$"


def group(name: str = "conv", channels: int = 8, **changes: Any) -> GroupReport:
    """A group of random maps, with its similarity and all its pairs."""
    maps = torch.rand(3, channels, 5, 7)
    similarity = channel_similarity(maps)
    selection = greedy_select(similarity)
    pairs = tuple(
        ChannelPair("consumer", removed, representative, value, maps[0, [removed, representative]])
        for removed, representative, value in zip(
            selection.removed, selection.representative, selection.similarity, strict=True
        )
    )
    known = {"layers": (name,), "selection": selection, "similarity": similarity, "pairs": pairs}
    known |= {"verification": "verified"}
    return GroupReport(**{"name": name, **known, **changes})


def bare(name: str, kept: int = 1, similarity: Tensor | None = None) -> GroupReport:
    """A group that lost nothing."""
    return GroupReport(name, (), Selection(tuple(range(kept)), (), (), (), 1, 0.0), similarity=similarity)


def report(*groups: GroupReport, layers: tuple[LayerWidth, ...] | None = None, **changes: Any) -> PruneReport:
    """A report with everything in it that a report can hold."""
    if layers is None:
        layers = (LayerWidth("conv", 8, 5, 4000, 2500), LayerWidth("fc", 10, 10, 80, 50))
    known: dict[str, Any] = {
        "params_before": 1234567,
        "params_after": 617283,
        "flops_before": 4080,
        "flops_after": 2550,
        "latency_before": 0.0421,
        "latency_after": 0.0203,
        "batch_size": 32,
    }
    return PruneReport(layers=layers, groups=groups, **{**known, **changes})
