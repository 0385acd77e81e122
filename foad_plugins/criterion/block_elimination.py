"""An elimination order for refitted consumers: remove the channel without which their error rises least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .reconstruction import eliminate_all

__all__ = ["PatchTerm", "block_elimination_costs"]

# Penalty of the regressions, relative to the mean variance of the inputs.
_RIDGE = 1e-3
# Matrices are made smaller when less than this share of them is alive.
_SPARSE = 0.8
_FLOOR = 1e-12


@dataclass(frozen=True, eq=False)
class PatchTerm:
    """A consumer of a set of channels: the statistics of its input patches, and its weights.

    A patch holds k values of each channel, one for each kernel position (or more for flattened maps).

    Attributes:
        gram: (n, n) float64, mean products of the values of a patch, around their means where the consumer, or the
            normalization after it, can make up for a constant.
        weight: (n, n) float64, inner products between the consumer's weights of the values, over its outputs.
        blocks: (C, k) indices into both, those of each channel. Indices of no channel are never removed.
    """

    gram: Tensor
    weight: Tensor
    blocks: Tensor


def block_elimination_costs(terms: Sequence[PatchTerm], ridge: float = _RIDGE) -> tuple[list[int], list[float]]:
    """Eliminate channels one at a time, each time the one without which refitted consumers have the least error.

    A consumer without a channel has the weights that least squares gives for the other channels, all kernel positions
    free; the error that is left is w' P^-1 w with the channel's weights w and its block P of the inverse Gram matrix.
    Weights and inverse are updated at each elimination, so that C channels of k values take C updates of O(n^2 k).
    OSSCAR (Meng et al., ICML 2024) removes channels by the same error, with a local search.

    Args:
        terms: one or more, over the same C channels.
        ridge: penalty on the change of a weight, relative to the mean variance of an input; above 0.

    Returns:
        The channels in the order in which they are removed, the last one included, and what each cost, relative to
        the mean square of what the consumers make of all channels.

    Raises:
        ValueError: no term, blocks of different numbers of channels, matrices that do not fit, or NaN or Inf in them.
    """
    if not terms:
        raise ValueError("an order by patches needs at least one consumer")
    count = len(terms[0].blocks)
    for term in terms:
        size = len(term.gram)
        for matrix in (term.gram, term.weight):
            if matrix.shape != (size, size) or not torch.isfinite(matrix).all():
                raise ValueError(f"terms must hold finite square matrices of one size, got {tuple(matrix.shape)}")
        if len(term.blocks) != count or (term.blocks.numel() and int(term.blocks.max()) >= size):
            raise ValueError(
                f"blocks must hold indices below {size} for {count} channels, got shape {tuple(term.blocks.shape)}"
            )
    total = sum(float((term.gram * term.weight).sum()) for term in terms)
    scale = 1 / total if total > 0 else 1.0
    states = [_Elimination(term, ridge) for term in terms]
    return eliminate_all(states, count, scale)


class _Elimination:
    """The inverse Gram matrix and the weight products of one consumer, while channels are removed."""

    def __init__(self, term: PatchTerm, ridge: float) -> None:
        system = term.gram.clone()
        variance = float(system.diagonal().mean()) if len(system) else 0.0
        system.diagonal().add_(max(ridge * variance, _FLOOR))
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
        self._weight = term.weight.clone()
        self._blocks = term.blocks.clone()
        self._kept = torch.ones(len(system), dtype=torch.bool)
        self._costs = torch.zeros(len(term.blocks), dtype=torch.float64)
        self._alive = torch.arange(len(term.blocks))

    def costs(self) -> Tensor:
        """(C,) what each channel would cost now; of removed ones what they cost."""
        blocks = self._blocks[self._alive]
        spread = self._inverse[blocks[:, :, None], blocks[:, None]]
        weight = self._weight[blocks[:, :, None], blocks[:, None]]
        costs = torch.linalg.solve_ex(spread, weight)[0].diagonal(dim1=1, dim2=2).sum(1)
        self._costs[self._alive] = costs
        return self._costs

    def eliminate(self, channel: int) -> None:
        """Remove a channel; the others' weights become those of the regression without it."""
        block = self._blocks[channel]
        columns = self._inverse[:, block]
        share = torch.linalg.solve(columns[block].mT, columns.mT).mT
        products = self._weight[block]
        self._inverse -= share @ columns.mT
        crossed = share @ products
        self._weight -= crossed + crossed.mT - share @ products[:, block] @ share.mT
        self._kept[block] = False
        self._alive = self._alive[self._alive != channel]
        if int(self._kept.sum()) < _SPARSE * len(self._kept):
            self._shrink()

    def _shrink(self) -> None:
        left = self._kept.nonzero().squeeze(1)
        place = torch.zeros(len(self._kept), dtype=torch.long)
        place[left] = torch.arange(len(left))
        self._inverse, self._weight = self._inverse[left][:, left], self._weight[left][:, left]
        self._blocks = place[self._blocks]
        self._kept = torch.ones(len(left), dtype=torch.bool)
