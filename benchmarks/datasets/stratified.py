"""Fewer images for short runs, every class with its share."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified_head(labels: Tensor, limit: int | None, setting: str) -> Tensor:
    """The numbers, ascending, of the first ``limit`` images when each class in turn gives its next one.

    Args:
        labels: (N,), integer classes from 0.
        limit: how many; all if None or if there are no more.
        setting: its name, for the message.

    Raises:
        ValueError: if ``limit`` is no whole number or below 1.
    """
    if limit is None:
        return torch.arange(len(labels))
    if not isinstance(limit, int) or limit < 1:
        raise ValueError(f"{setting}: at least 1, or None for all, got {limit!r}")
    by_class = labels.argsort(stable=True)
    counts = labels.bincount()
    turn = torch.empty_like(by_class)
    turn[by_class] = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return turn.argsort(stable=True)[:limit].sort().values
