"""Products of a layer's input rows and target rows, summed over rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...criterion.kernels.tf32 import disable_tf32

__all__ = ["Centered", "Moments"]

# Rows that are multiplied at a time: float32 sums over so many keep six digits.
_ROWS = 4096


class Moments:
    """Sums of products of input rows and target rows, for each group of a layer.

    Products are taken in the rows' precision over a few thousand rows, and summed in float64. Rows are taken relative
    to an origin near their mean, so that little is lost when the mean is removed.

    Args:
        origin_x: (G, 1, n), subtracted from input rows.
        origin_y: (G, 1, m), subtracted from target rows.

    Attributes:
        rows: number of rows so far.
    """

    def __init__(self, origin_x: Tensor, origin_y: Tensor) -> None:
        groups, _, unknowns = origin_x.shape
        outputs = origin_y.shape[2]

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(groups, *shape, dtype=torch.float64, device=origin_x.device)

        self.rows = 0
        self._origins = origin_x, origin_y
        self._xx, self._xy = zeros(unknowns, unknowns), zeros(unknowns, outputs)
        self._x, self._y, self._yy = zeros(1, unknowns), zeros(1, outputs), zeros(1, outputs)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add input rows (G, R, n) and target rows (G, R, m)."""
        with disable_tf32(x):
            for rows, targets in zip(x.split(_ROWS, 1), y.split(_ROWS, 1), strict=True):
                rows, targets = rows - self._origins[0], targets - self._origins[1]
                self._xx += rows.mT @ rows
                self._xy += rows.mT @ targets
                self._x += rows.sum(1, keepdim=True, dtype=torch.float64)
                self._y += targets.sum(1, keepdim=True, dtype=torch.float64)
                self._yy += targets.double().square().sum(1, keepdim=True)
        self.rows += x.shape[1]

    def __add__(self, other: Moments) -> Moments:
        """The sums of both, which have one origin."""
        both = Moments(*self._origins)
        both.rows = self.rows + other.rows
        for name in ("_xx", "_xy", "_x", "_y", "_yy"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def finite(self) -> bool:
        """Whether no NaN or Inf was added."""
        return bool((self._xx.sum() + self._yy.sum() + self._x.sum()).isfinite())

    def centered(self, constant: bool) -> Centered:
        """Means over rows; relative to the mean row if a constant is fitted, to zero if not."""
        x, y = self._x / self.rows, self._y / self.rows
        xx = self._xx / self.rows - x.mT @ x
        xy = self._xy / self.rows - x.mT @ y
        yy = self._yy / self.rows - y * y
        x, y = x + self._origins[0], y + self._origins[1]
        if constant:
            return Centered(xx, xy, yy, x, y)
        zero_x, zero_y = torch.zeros_like(x), torch.zeros_like(y)
        return Centered(xx + x.mT @ x, xy + x.mT @ y, yy + y * y, zero_x, zero_y)


class Centered(NamedTuple):
    """Mean products of inputs (G, n, n), of inputs and targets (G, n, m), of targets (G, 1, m), and means."""

    xx: Tensor
    xy: Tensor
    yy: Tensor
    x: Tensor
    y: Tensor

    def error(self, weight: Tensor, constant: Tensor) -> float:
        """Mean square over rows, summed over targets, of target - row @ weight - constant."""
        spread = self.yy.sum() + (weight * (self.xx @ weight - 2 * self.xy)).sum()
        return float(spread + (self.y - self.x @ weight - constant).square().sum())

    def best_constant(self, weight: Tensor) -> Tensor:
        """The constant (G, 1, m) with the least error; 0 where none is fitted."""
        return self.y - self.x @ weight

    def in_single_precision(self) -> Centered:
        """The same in float32, for choices that need no more."""
        return Centered(*(value.float() for value in self))
