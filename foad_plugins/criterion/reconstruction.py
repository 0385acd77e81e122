"""An elimination order made for reconstruction: the channel goes that its readers miss least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ReconstructionTerm", "elimination_costs"]

# Penalty of the regressions, relative to each channel's mean square: small, so that exact copies cost next to nothing.
_RIDGE = 1e-6
_SCARCE_RIDGE = 1e-3
# Below this share of the strongest channel's mean square a channel is dead.
_DEAD = 1e-12
# Eliminations that are gathered before they are worked into the matrices, by one product instead of many updates.
_PANEL = 64
# Matrices are made smaller when less than this share of them is alive.
_SPARSE = 0.8


@dataclass(frozen=True, eq=False)
class ReconstructionTerm:
    """One tensor that carries a set of channels, and what its readers make of it.

    Attributes:
        gram: (C, C) float64, mean products of the channels' maps.
        weight: (C, C) float64, inner products between the readers' weights of the channels, summed over readers.
        samples: images times positions that ``gram`` is a mean over.
    """

    gram: Tensor
    weight: Tensor
    samples: int

    @property
    def energy(self) -> float:
        """Mean square of what the readers make of all channels, as far as kernel positions are independent."""
        return float((self.gram * self.weight).sum())


def elimination_costs(terms: Sequence[ReconstructionTerm]) -> tuple[list[int], list[float]]:
    """Eliminate channels one at a time, each time the one whose removal costs least.

    A channel costs the mean square of what is left of it after regression on the channels still alive, times the energy
    of its readers' weights, summed over the terms. When it goes, the others take its weights over as the
    regression says, and the inverse Gram matrix loses its row: both are updated and never computed anew, so that C
    channels take C eliminations of O(C) and C / 64 matrix products.

    Args:
        terms: one or more, over the same C channels.

    Returns:
        The channels in the order in which they go, the last one included, and what each cost when it went, relative to
        the energy of all terms (the last one's is what it still carries).

    Raises:
        ValueError: no term, matrices of other shapes, or NaN or Inf in them.
    """
    if not terms:
        raise ValueError("a reconstruction order needs at least one tensor that is read")
    count = len(terms[0].gram)
    for term in terms:
        for matrix in (term.gram, term.weight):
            if matrix.shape != (count, count) or not torch.isfinite(matrix).all():
                raise ValueError(f"terms must hold finite ({count}, {count}) matrices, got {tuple(matrix.shape)}")
    total = sum(term.energy for term in terms)
    scale = 1 / total if total > 0 else 1.0
    states = [_Elimination(term) for term in terms]
    alive = torch.ones(count, dtype=torch.bool)
    sequence: list[int] = []
    costs: list[float] = []
    for _ in range(count):
        cost = torch.stack([state.costs() for state in states]).sum(0) if len(states) > 1 else states[0].costs()
        cost = torch.where(alive, cost, torch.inf)
        # Of equal costs the last goes, so that the lower index stays.
        channel = count - 1 - int(cost.flip(0).argmin())
        sequence.append(channel)
        costs.append(max(0.0, float(cost[channel])) * scale)
        alive[channel] = False
        for state in states:
            state.eliminate(channel)
    return sequence, costs


class _Elimination:
    """The inverse Gram matrix and the readers' weights of one term, while channels go.

    Both matrices are kept as they were at the last flush, over some of the channels (``index``), with the
    eliminations since as low-rank terms beside them: ``inverse - u @ u.T`` and ``weight + a @ s.T + s @ a.T``.
    """

    def __init__(self, term: ReconstructionTerm) -> None:
        count = len(term.gram)
        energy = term.gram.diagonal()
        floor = (_DEAD * float(energy.max()) if count else 0.0) or 1.0
        ridge = _RIDGE if term.samples >= count else _SCARCE_RIDGE
        penalised = term.gram.clone()
        penalised.diagonal().add_(ridge * energy.clamp_min(floor))
        self._inverse = _inverse(penalised)
        self._weight = term.weight.clone()
        self._index = torch.arange(count)
        self._place = torch.arange(count)
        self._gone = torch.zeros(count, dtype=torch.bool)
        self._spread = self._inverse.diagonal().clone()
        self._energy = self._weight.diagonal().clone()
        self._reset()

    def costs(self) -> Tensor:
        """(C,) what each channel would cost now; meaningless for those that have gone."""
        return self._energy / self._spread.clamp_min(torch.finfo(torch.float64).tiny)

    def eliminate(self, channel: int) -> None:
        here, used = int(self._place[channel]), self._used
        u, a, s = self._u[:, :used], self._a[:, :used], self._s[:, :used]
        column = self._inverse[:, here] - u @ u[here]
        weights = self._weight[:, here] + a @ s[here] + s @ a[here]
        pivot = column[here].clamp_min(torch.finfo(torch.float64).tiny)
        taken = column / -pivot
        taken[here] = 0
        taken[self._gone] = 0
        self._gone[here] = True
        own = weights[here].clone()
        self._spread[self._index] -= column.square() / pivot
        self._energy[self._index] += 2 * taken * weights + own * taken.square()
        self._u[:, used] = column * pivot.rsqrt()
        self._a[:, used] = taken
        self._s[:, used] = weights + 0.5 * own * taken
        self._used += 1
        if self._used == _PANEL:
            self._flush()

    def _flush(self) -> None:
        """Work the eliminations into the matrices, and drop what has gone once it is a good part of them."""
        self._inverse.addmm_(self._u, self._u.T, alpha=-1)
        self._weight.addmm_(torch.cat([self._a, self._s], 1), torch.cat([self._s, self._a], 1).T)
        left = (~self._gone).nonzero().squeeze(1)
        if len(left) < _SPARSE * len(self._gone):
            self._inverse = self._inverse[left][:, left]
            self._weight = self._weight[left][:, left]
            self._index = self._index[left]
            self._gone = self._gone[left]
            self._place[self._index] = torch.arange(len(left))
        self._reset()

    def _reset(self) -> None:
        self._u, self._a, self._s = (torch.zeros(len(self._index), _PANEL, dtype=torch.float64) for _ in range(3))
        self._used = 0


def _inverse(matrix: Tensor) -> Tensor:
    """Inverse of a positive definite matrix, its diagonal raised until it is one."""
    shift = 0.0
    while True:
        shifted = matrix.clone()
        shifted.diagonal().add_(shift * matrix.diagonal().mean() if len(matrix) else 0.0)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if not failed:
            return torch.cholesky_inverse(factor)
        shift = max(10 * shift, 1e-12)
