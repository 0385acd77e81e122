"""Full elimination orders: every channel ranked from most to least redundant, so that any ratio can be cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .selection import Similarity, as_table, check_rule, walk

__all__ = ["ORDERS", "ChannelOrder", "elimination_order"]

ORDERS = ("backward", "rounds")

# Scores rise by this much from channel to channel where the criterion itself leaves a tie. It stays below the
# resolution of float32 similarities for any layer of fewer than 60,000 channels.
_STEP = 1e-12


@dataclass(frozen=True)
class ChannelOrder:
    """All channels of a layer in the order in which they should go. Cutting it anywhere gives nested selections.

    Attributes:
        sequence: channel indices, the most redundant first; the last one stays longest.
        keeper: for each channel in ``sequence``, the channel it resembled most among those that it left behind, or -1
            for the last.
        similarity: for each channel in ``sequence``, its similarity to that keeper; NaN for the last.
        round: for each channel in ``sequence``, the pass in which it went, from 0; all 0 for orders without passes.
        scores: importance by channel index, strictly increasing along ``sequence``: higher is more important.
        name: the order's name.
    """

    sequence: tuple[int, ...]
    keeper: tuple[int, ...]
    similarity: tuple[float, ...]
    round: tuple[int, ...]
    scores: tuple[float, ...]
    name: str

    def importance(self) -> Tensor:
        """The scores as a float64 tensor of shape (C,); higher is more important."""
        return torch.tensor(self.scores, dtype=torch.float64)


def elimination_order(
    similarity: Tensor, order: str = "rounds", *, neighbors: int = 1, threshold: float = 0.0
) -> ChannelOrder:
    """Order all channels of a layer from most to least redundant.

    ``"rounds"`` repeats the pass of :func:`~foad_plugins.greedy_select` over the survivors until one channel is left
    (a pass that removes nothing at ``threshold`` is repeated at 0). A channel's score is its round plus 1 minus its
    similarity to its keeper. The first round is the selection of Shi et al. 2024; the later ones are ours.

    ``"backward"`` is ours too: remove, one at a time, the channel that is most similar to another one still alive; of
    the two channels of such a pair, the one with the higher mean similarity to the rest. Scores are 1 minus that
    similarity, in [0, 1], made non-decreasing along the order. ``neighbors`` and ``threshold`` are not used.

    Args:
        similarity: (C, C) tensor as :func:`~foad_plugins.channel_similarity` returns it.
        order: ``"rounds"`` or ``"backward"``.
        neighbors: t of each pass, at least 1.
        threshold: s of each pass, in [0, 1].

    Returns:
        The order. Remaining ties fall as in the rule itself: the lower index stays.

    Raises:
        TypeError: ``similarity`` is no tensor, or ``neighbors`` no integer.
        ValueError: an unknown order, not a square matrix, NaN in it, or a parameter out of its range.
    """
    neighbors, threshold = check_rule(neighbors, threshold)
    check_order(order)
    table = as_table(similarity)
    steps = _rounds(table, neighbors, threshold) if order == "rounds" else _backward(table)
    channels = [channel for channel, _, _ in steps]
    keepers = [keeper for _, keeper, _ in steps]
    rounds = [number for _, _, number in steps]
    alike = [float(table[channel, keeper]) if keeper >= 0 else float("nan") for channel, keeper, _ in steps]
    level = np.array([number + (1 - near if keeper >= 0 else 1) for (_, keeper, number), near in zip(steps, alike, strict=True)])
    scores = np.empty(len(table))
    scores[channels] = np.maximum.accumulate(level) + _STEP * np.arange(len(table)) if len(table) else level
    return ChannelOrder(
        sequence=tuple(channels),
        keeper=tuple(keepers),
        similarity=tuple(alike),
        round=tuple(rounds),
        scores=tuple(scores.tolist()),
        name=order,
    )


def check_order(order: str) -> str:
    """The name of an order, validated.

    Raises:
        ValueError: there is no such order.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(map(repr, ORDERS))}, got {order!r}")
    return order


def _rounds(table: Similarity, neighbors: int, threshold: float) -> list[tuple[int, int, int]]:
    """(channel, keeper, round) by repeated passes; the survivor has keeper -1 and the round after the last."""
    alive = np.arange(len(table))
    steps: list[tuple[int, int, int]] = []
    number = 0
    while len(alive) > 1:
        keepers = walk(table, alive, neighbors, threshold) or walk(table, alive, neighbors, 0.0)
        going = sorted(keepers, key=lambda channel: (-table[keepers[channel], channel], -channel))
        steps += [(channel, keepers[channel], number) for channel in going]
        alive = np.setdiff1d(alive, going, assume_unique=True)
        number += 1
    return steps + [(int(channel), -1, number) for channel in alive]


def _backward(table: Similarity) -> list[tuple[int, int, int]]:
    """(channel, keeper, 0), one channel at a time."""
    channels = len(table)
    work = table.astype(np.float64)
    np.fill_diagonal(work, 0)
    bulk = work.sum(1)
    np.fill_diagonal(work, -np.inf)
    nearest = work.argmax(1) if channels else np.empty(0, dtype=np.intp)
    best = work[np.arange(channels), nearest]
    steps: list[tuple[int, int, int]] = []
    for _ in range(channels - 1):
        tied = np.flatnonzero(best == best.max())
        level = bulk[tied]
        gone = int(tied[np.flatnonzero(level == level.max())[-1]])
        steps.append((gone, int(nearest[gone]), 0))
        bulk -= np.where(np.isfinite(work[gone]), work[gone], 0)
        work[:, gone] = -np.inf
        work[gone] = -np.inf
        best[gone] = -np.inf
        for orphan in np.flatnonzero(nearest == gone):
            if best[orphan] > -np.inf:
                nearest[orphan] = work[orphan].argmax()
                best[orphan] = work[orphan, nearest[orphan]]
    last = set(range(channels)).difference(channel for channel, _, _ in steps)
    return steps + [(channel, -1, 0) for channel in last]
