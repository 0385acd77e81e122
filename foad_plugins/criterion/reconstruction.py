"""The elimination order for reconstruction: remove the channel whose removal costs its consumers least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["ReconstructionTerm", "eliminate_all", "elimination_costs"]

# Ridge of the regressions, relative to each channel's mean square: small, so that exact copies cost almost nothing.
_RIDGE = 1e-6
_SCARCE_RIDGE = 1e-3
# Below this share of the strongest channel's mean square a channel is dead.
_DEAD = 1e-12
# Eliminations that are collected before the matrices are updated, by one product instead of many.
_PANEL = 64
# Matrices are made smaller when less than this share of their channels is left.
_SPARSE = 0.8


@dataclass(frozen=True, eq=False)
class ReconstructionTerm:
    """A tensor that contains a set of channels, and the weights of the layers that consume it.

    Attributes:
        gram: (C, C) float64, mean products of the channels' maps.
        weight: (C, C) float64, inner products between the consumers' weights for the channels, summed over consumers.
        samples: the number of images times positions of which ``gram`` is the mean.
    """

    gram: Tensor
    weight: Tensor
    samples: int

    @property
    def output_mean_square(self) -> float:
        """Mean square of the consumers' outputs, if kernel positions are independent."""
        return float((self.gram * self.weight).sum())


def elimination_costs(terms: Sequence[ReconstructionTerm]) -> tuple[list[int], list[float]]:
    """Eliminate channels one at a time, each time the one whose removal costs least.

    The cost of a channel is the mean square of its residual after regression on the channels that are left, times the
    sum of squares of its consumers' weights, summed over the terms. On its removal, its weights are folded into the
    others by that regression, and its row of the inverse Gram matrix is eliminated. Both matrices are updated, never
    recomputed: C channels take C eliminations of O(C) and C / 64 matrix products.

    Args:
        terms: one or more, over the same C channels.

    Returns:
        All channels in the order of removal, and the cost of each, relative to the mean square of all consumers'
        outputs.

    Raises:
        ValueError: no term, or a matrix of another shape, or with NaN or Inf.
    """
    if not terms:
        raise ValueError("a reconstruction order needs at least one term")
    count = len(terms[0].gram)
    for term in terms:
        for matrix in (term.gram, term.weight):
            if matrix.shape != (count, count) or not torch.isfinite(matrix).all():
                raise ValueError(f"terms must contain finite ({count}, {count}) matrices, got {tuple(matrix.shape)}")
    total = sum(term.output_mean_square for term in terms)
    scale = 1 / total if total > 0 else 1.0
    states = [_Elimination(term) for term in terms]
    return eliminate_all(states, count, scale)


class Elimination(Protocol):
    """What one consumer loses while channels are removed one at a time."""

    def costs(self) -> Tensor:
        """(C,) the cost of removing each channel next."""

    def eliminate(self, channel: int) -> None:
        """Remove a channel."""


def eliminate_all(states: Sequence[Elimination], count: int, scale: float) -> tuple[list[int], list[float]]:
    """Remove the cheapest channel of all consumers until none is left.

    Args:
        states: one a consumer, over the same channels.
        count: the number of channels.
        scale: of the costs that are returned.

    Returns:
        The channels in the order of removal, of equal costs the highest index first, and the scaled cost of each.
    """
    alive = torch.ones(count, dtype=torch.bool)
    sequence: list[int] = []
    costs: list[float] = []
    for _ in range(count):
        cost = torch.stack([state.costs() for state in states]).sum(0) if len(states) > 1 else states[0].costs()
        cost = torch.where(alive, cost, torch.inf)
        channel = count - 1 - int(cost.flip(0).argmin())
        sequence.append(channel)
        costs.append(max(0.0, float(cost[channel])) * scale)
        alive[channel] = False
        for state in states:
            state.eliminate(channel)
    return sequence, costs


class _Elimination:
    """The inverse Gram matrix and the consumers' weights of one term during elimination.

    Both matrices are those of the last flush, over the channels in ``index``. Eliminations since then are low-rank
    terms: ``inverse - u @ u.T`` and ``weight + a @ s.T + s @ a.T``.
    """

    def __init__(self, term: ReconstructionTerm) -> None:
        count = len(term.gram)
        mean_squares = term.gram.diagonal()
        floor = (_DEAD * float(mean_squares.max()) if count else 0.0) or 1.0
        ridge = _RIDGE if term.samples >= count else _SCARCE_RIDGE
        penalized = term.gram.clone()
        penalized.diagonal().add_(ridge * mean_squares.clamp_min(floor))
        self._inverse = _inverse(penalized)
        self._weight = term.weight.clone()
        self._index = torch.arange(count)
        self._position = torch.arange(count)
        self._removed = torch.zeros(count, dtype=torch.bool)
        self._spread = self._inverse.diagonal().clone()
        self._weight_squares = self._weight.diagonal().clone()
        self._reset()

    def costs(self) -> Tensor:
        """(C,) cost of each channel now; without meaning for removed channels."""
        return self._weight_squares / self._spread.clamp_min(torch.finfo(torch.float64).tiny)

    def eliminate(self, channel: int) -> None:
        """Remove a channel."""
        here, used = int(self._position[channel]), self._used
        u, a, s = self._u[:, :used], self._a[:, :used], self._s[:, :used]
        column = self._inverse[:, here] - u @ u[here]
        weights = self._weight[:, here] + a @ s[here] + s @ a[here]
        pivot = column[here].clamp_min(torch.finfo(torch.float64).tiny)
        taken = column / -pivot
        taken[here] = 0
        taken[self._removed] = 0
        self._removed[here] = True
        own = weights[here].clone()
        self._spread[self._index] -= column.square() / pivot
        self._weight_squares[self._index] += 2 * taken * weights + own * taken.square()
        self._u[:, used] = column * pivot.rsqrt()
        self._a[:, used] = taken
        self._s[:, used] = weights + 0.5 * own * taken
        self._used += 1
        if self._used == _PANEL:
            self._flush()

    def _flush(self) -> None:
        """Apply the collected eliminations, and drop the removed channels if they are many."""
        self._inverse.addmm_(self._u, self._u.T, alpha=-1)
        self._weight.addmm_(torch.cat([self._a, self._s], 1), torch.cat([self._s, self._a], 1).T)
        left = (~self._removed).nonzero().squeeze(1)
        if len(left) < _SPARSE * len(self._removed):
            self._inverse = self._inverse[left][:, left]
            self._weight = self._weight[left][:, left]
            self._index = self._index[left]
            self._removed = self._removed[left]
            self._position[self._index] = torch.arange(len(left))
        self._reset()

    def _reset(self) -> None:
        self._u, self._a, self._s = (torch.zeros(len(self._index), _PANEL, dtype=torch.float64) for _ in range(3))
        self._used = 0


def _inverse(matrix: Tensor) -> Tensor:
    """Inverse of a matrix, whose diagonal is raised until the matrix is positive definite."""
    shift = 0.0
    while True:
        shifted = matrix.clone()
        shifted.diagonal().add_(shift * matrix.diagonal().mean() if len(matrix) else 0.0)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if not failed:
            return torch.cholesky_inverse(factor)
        shift = max(10 * shift, 1e-12)
