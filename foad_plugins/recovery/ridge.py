"""Least squares with a penalty on the distance to the weights at hand, from summed products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..criterion.kernels.tf32 import disable_tf32

__all__ = ["STRENGTHS", "Fit", "Moments", "solve"]

STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Weights of the penalty that are tried, relative to the mean variance of an input."""

# A group with a variance below this share of the largest one is dead.
_DEAD = 1e-10
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


@dataclass(frozen=True, eq=False)
class Fit:
    """Weights that were found.

    Attributes:
        weight: (G, n, m) float64.
        constant: (G, 1, m) float64.
        strength: of the penalty; Inf where only the constant is new.
        before: error of the weights at hand on the rows left out, mean square summed over targets.
        after: the same of the weights fitted on the other rows at this strength.
        scale: mean square of the targets left out, around their mean if a constant is fitted.
    """

    weight: Tensor
    constant: Tensor
    strength: float
    before: float
    after: float
    scale: float


def solve(fit: Moments, left_out: Moments, start: Tensor, start_constant: Tensor, *, constant: bool = True) -> Fit:
    """Least squares with a penalty on the distance to ``start``.

    The strength of the penalty is found by the error on ``left_out``, walking from a middle one as long as it falls;
    then all rows are used. No change but of the constant is one of the choices.

    Args:
        fit: sums to fit to.
        left_out: sums that choose the strength; of the same origin, at least one row.
        start: (G, n, m) float64, the weights at hand.
        start_constant: (G, 1, m) float64, the constant at hand.
        constant: whether a constant is fitted too.
    """
    inside, outside = fit.centered(constant), left_out.centered(constant)
    errors = {float("inf"): outside.error(start, inside.best_constant(start))}
    place = len(STRENGTHS) // 2
    steps = {place}
    while steps:
        for step in steps:
            weight = _at(inside, start, STRENGTHS[step])
            error = float("inf") if weight is None else outside.error(weight, inside.best_constant(weight))
            errors[STRENGTHS[step]] = error
        place = min(
            (step for step, strength in enumerate(STRENGTHS) if strength in errors),
            key=lambda step: (errors[STRENGTHS[step]], step),
        )
        around = {place - 1, place + 1} & set(range(len(STRENGTHS)))
        steps = {step for step in around if STRENGTHS[step] not in errors}
    strength = min(errors, key=lambda one: (errors[one], -one))
    before = outside.error(start, start_constant if constant else torch.zeros_like(start_constant))
    together = (fit + left_out).centered(constant)
    weight = start if strength == float("inf") else _at(together, start, strength)
    if weight is None:
        strength, weight = float("inf"), start
    scale = float(outside.yy.sum())
    return Fit(weight, together.best_constant(weight), strength, before, errors[strength], scale)


def _at(moments: Centered, start: Tensor, strength: float) -> Tensor | None:
    """The solution at one strength; None where rounding leaves no positive definite system."""
    scale = moments.xx.diagonal(dim1=1, dim2=2).mean(1)
    # A group whose inputs never change keeps its weights: its products are rounding errors.
    scale = scale.clamp_min(max(_DEAD * float(scale.max()), torch.finfo(torch.float64).tiny))
    system = moments.xx.clone()
    system.diagonal(dim1=1, dim2=2).add_(strength * scale[:, None])
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed.any():
        return None
    return start + torch.cholesky_solve(moments.xy - moments.xx @ start, factor)
