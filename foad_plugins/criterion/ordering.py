"""Full elimination orders: every channel ranked from most to least redundant, so that any ratio can be cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .block_elimination import PatchTerm, block_elimination_costs
from .reconstruction import ReconstructionTerm, elimination_costs
from .selection import GreedyPass, Similarity, to_numpy, validate_rule

__all__ = ["ORDERS", "ChannelOrder", "elimination_order"]

ORDERS = ("backward", "patches", "reconstruction", "rounds")

# Scores differ by at least this, also where the criterion itself leaves a tie. It is below the
# resolution of float32 similarities for any layer of fewer than 60,000 channels.
_STEP = 1e-12


@dataclass(frozen=True)
class ChannelOrder:
    """All channels of a layer in the order of removal. Its prefixes are nested selections.

    Attributes:
        sequence: channel indices, the most redundant first.
        representative: for each channel in ``sequence``, the most similar of the channels that are left after it, or -1
            for the last one. In passes, it is the channel that removed it.
        similarity: for each channel in ``sequence``, its similarity to that representative; NaN for the last.
        round: for each channel in ``sequence``, the pass that removed it, from 0; all 0 for orders without passes.
        scores: importance by channel index, strictly increasing along ``sequence``: higher is more important.
        name: the order's name.
    """

    sequence: tuple[int, ...]
    representative: tuple[int, ...]
    similarity: tuple[float, ...]
    round: tuple[int, ...]
    scores: tuple[float, ...]
    name: str

    def importance(self) -> Tensor:
        """The scores as a float64 tensor of shape (C,); higher is more important."""
        return torch.tensor(self.scores, dtype=torch.float64)


def elimination_order(
    similarity: Tensor,
    order: str = "rounds",
    *,
    neighbors: int = 1,
    threshold: float = 0.0,
    terms: Sequence[ReconstructionTerm] | Sequence[PatchTerm] = (),
) -> ChannelOrder:
    """Order all channels of a layer from most to least redundant.

    ``"rounds"`` repeats the pass of :func:`~foad_plugins.greedy_select` over the channels left, until there is one
    (a pass that removes nothing at ``threshold`` is repeated at 0). A channel's score is its round plus 1 minus its
    similarity to its representative. The first round is the selection of Shi et al. 2024; the later ones are ours.

    ``"backward"`` is ours too: remove, one at a time, the channel with the highest mean similarity to those that are
    left, ties to the higher index. A channel's score is 1 minus that mean, made non-decreasing along the order.
    ``neighbors`` and ``threshold`` are not used.

    ``"reconstruction"`` is ours as well: remove, one at a time, the channel whose removal changes its consumers'
    outputs least when its weights are folded into the channels that are left; see :func:`.elimination_costs`. The
    score is that cost, made non-decreasing along the order. It needs ``terms``; similarity only decides the
    representatives.

    ``"patches"`` is for networks that are refitted: remove, one at a time, the channel without which the consumers'
    error rises least when all of their weights are solved again; see :func:`.block_elimination_costs`. It needs terms
    of that kind.

    Args:
        similarity: (C, C) tensor as :func:`~foad_plugins.channel_similarity` returns it.
        order: ``"rounds"``, ``"backward"``, ``"reconstruction"`` or ``"patches"``.
        neighbors: t of each pass, at least 1.
        threshold: s of each pass, in [0, 1].
        terms: for ``"reconstruction"`` and ``"patches"``, one for each tensor with the same C channels.

    Returns:
        The order. Remaining ties are decided as in the rule itself: the lower index is kept.

    Raises:
        TypeError: ``similarity`` is no tensor, or ``neighbors`` no integer.
        ValueError: an unknown order, not a square matrix, NaN in it, a parameter out of its range, or no terms over C
            channels where they are needed.
    """
    neighbors, threshold = validate_rule(neighbors, threshold)
    check_order(order)
    table = to_numpy(similarity)
    if order in ("reconstruction", "patches"):
        steps = _by_cost(table, order, terms)
    else:
        steps = _rounds(table, neighbors, threshold) if order == "rounds" else _backward(table)
    sequence = [step.channel for step in steps]
    scores = np.empty(len(table))
    if steps:
        scores[sequence] = np.maximum.accumulate([step.score for step in steps]) + _STEP * np.arange(len(table))
    return ChannelOrder(
        sequence=tuple(sequence),
        representative=tuple(step.representative for step in steps),
        similarity=tuple(
            float(table[step.representative, step.channel]) if step.representative >= 0 else float("nan")
            for step in steps
        ),
        round=tuple(step.round for step in steps),
        scores=tuple(scores.tolist()),
        name=order,
    )


class _Step(NamedTuple):
    channel: int
    representative: int
    round: int
    score: float


def check_order(order: str, orders: Sequence[str] = ORDERS) -> str:
    """The name of an order, validated.

    Raises:
        ValueError: it is not among ``orders``.
    """
    if order not in orders:
        raise ValueError(f"order must be one of {', '.join(map(repr, orders))}, got {order!r}")
    return order


def _rounds(table: Similarity, neighbors: int, threshold: float) -> list[_Step]:
    """Repeated passes; the last channel has no representative, and the round after the last."""
    passes = GreedyPass(table)
    steps: list[_Step] = []
    number = 0
    while len(passes.alive) > 1:
        representatives = passes.select(neighbors, threshold) or passes.select(neighbors, 0.0)
        removed = sorted(representatives, key=lambda channel: (-table[representatives[channel], channel], -channel))
        steps += [
            _Step(c, representatives[c], number, number + 1 - float(table[representatives[c], c])) for c in removed
        ]
        number += 1
    return steps + [_Step(int(channel), -1, number, number + 1.0) for channel in passes.alive]


def _backward(table: Similarity) -> list[_Step]:
    """One channel at a time, by its summed similarity to those left."""
    work = table.astype(np.float64)
    np.fill_diagonal(work, 0)
    redundancy = work.sum(1)
    alive = np.ones(len(table), dtype=bool)
    steps: list[_Step] = []
    for others in reversed(range(1, len(table))):
        left = np.where(alive, redundancy, -np.inf)
        channel = int(np.flatnonzero(left == left.max())[-1])
        alive[channel] = False
        representative = int(np.where(alive, table[channel], -np.inf).argmax())
        steps.append(_Step(channel, representative, 0, 1 - float(left[channel]) / others))
        redundancy -= work[:, channel]
    return steps + [_Step(int(channel), -1, 0, 1.0) for channel in np.flatnonzero(alive)]


def _by_cost(table: Similarity, order: str, terms: Sequence[Any]) -> list[_Step]:
    """One channel at a time, by what its consumers lose."""
    if len(table) == 0:
        return []
    patches = order == "patches"
    if any(len(term.blocks if patches else term.gram) != len(table) for term in terms):
        raise ValueError(f"terms must be over the {len(table)} channels of the similarity matrix")
    sequence, costs = block_elimination_costs(terms) if patches else elimination_costs(terms)
    alive = np.ones(len(table), dtype=bool)
    steps: list[_Step] = []
    for channel, cost in zip(sequence[:-1], costs[:-1], strict=True):
        alive[channel] = False
        steps.append(_Step(channel, int(np.where(alive, table[channel], -np.inf).argmax()), 0, cost))
    return [*steps, _Step(sequence[-1], -1, 0, costs[-1])]
