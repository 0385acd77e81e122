"""Least squares with a penalty on the distance to the weights at hand, its strength chosen on rows left out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .dual import DualProblem, Rows
from .moments import Centered, Moments

__all__ = ["STRENGTHS", "Fit", "PrimalProblem", "solve"]

STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Weights of the penalty that are tried, relative to the mean variance of an input."""

# A group with a variance below this share of the largest one is dead.
_DEAD = 1e-10
# Above so many unknowns the strength is chosen in single precision, in half of the time.
_LARGE = 512
_KEEP = float("inf")


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


def solve(
    fit: Moments | Rows,
    left_out: Moments | Rows,
    start: Tensor,
    start_constant: Tensor,
    *,
    constant: bool = True,
    first: float = 1e-3,
) -> Fit:
    """Least squares with a penalty on the distance to ``start``.

    The strength of the penalty is found by the error on ``left_out``, walking from ``first`` as long as it falls;
    then all rows are used. No change but of the constant is one of the choices.

    Args:
        fit: what to fit to.
        left_out: what chooses the strength; at least one row. Both are moments of one origin, or rows.
        start: (G, n, m) float64, the weights at hand.
        start_constant: (G, 1, m) float64, the constant at hand.
        constant: whether a constant is fitted too.
        first: one of the strengths; near the best one it saves time.
    """
    problem: PrimalProblem | DualProblem
    if isinstance(fit, Rows) and isinstance(left_out, Rows):
        problem = DualProblem(fit, left_out, start, constant=constant)
    else:
        assert isinstance(fit, Moments)
        assert isinstance(left_out, Moments)
        problem = PrimalProblem(fit, left_out, start, constant=constant)
    errors = {_KEEP: problem.error_at(_KEEP) or 0.0}
    steps = {STRENGTHS.index(first) if first in STRENGTHS else len(STRENGTHS) // 2}
    while steps:
        for step in sorted(steps):
            error = problem.error_at(STRENGTHS[step])
            errors[STRENGTHS[step]] = _KEEP if error is None else error
        tried = [step for step, strength in enumerate(STRENGTHS) if strength in errors]
        best = min(tried, key=lambda step: (errors[STRENGTHS[step]], -step))
        steps = {best - 1, best + 1} & set(range(len(STRENGTHS))) - set(tried)
    strength = min(errors, key=lambda one: (errors[one], -one))
    solution = problem.solution(strength)
    if solution is None:
        strength, solution = _KEEP, problem.solution(_KEEP)
    assert solution is not None
    before = problem.error_of_start(start_constant if constant else torch.zeros_like(start_constant))
    return Fit(*solution, strength, before, errors[strength], problem.scale)


class PrimalProblem:
    """A regression from moments.

    Args:
        fit: moments to fit to.
        left_out: moments that choose the strength.
        start: (G, n, m) float64, the weights at hand.
        constant: whether a constant is fitted too.

    Attributes:
        scale: mean square of the targets left out, around their mean if a constant is fitted.
    """

    def __init__(self, fit: Moments, left_out: Moments, start: Tensor, *, constant: bool) -> None:
        self._start, self._constant = start, constant
        self._together = fit + left_out
        self._inside, self._outside = fit.centered(constant), left_out.centered(constant)
        self.scale = float(self._outside.yy.sum())
        self._choosing = self._inside, self._outside, start
        if start.shape[1] > _LARGE:
            self._choosing = self._inside.in_single_precision(), self._outside.in_single_precision(), start.float()

    def error_at(self, strength: float) -> float | None:
        """Error on the rows left out, of the fit to the other rows; Inf keeps the weights; None if there is no fit."""
        inside, outside, start = self._choosing
        if strength == _KEEP:
            return self._outside.error(self._start, self._inside.best_constant(self._start))
        weight = _at(inside, start, strength)
        return None if weight is None else outside.error(weight, inside.best_constant(weight))

    def error_of_start(self, constant: Tensor) -> float:
        """Error of the weights at hand, with a constant (G, 1, m), on the rows left out."""
        return self._outside.error(self._start, constant)

    def solution(self, strength: float) -> tuple[Tensor, Tensor] | None:
        """Weight and constant of the fit to all rows."""
        together = self._together.centered(self._constant)
        weight = self._start if strength == _KEEP else _at(together, self._start, strength)
        return None if weight is None else (weight, together.best_constant(weight))


def _at(moments: Centered, start: Tensor, strength: float) -> Tensor | None:
    """The solution at one strength; None where rounding leaves no positive definite system."""
    scale = moments.xx.diagonal(dim1=1, dim2=2).mean(1)
    # A group whose inputs never change keeps its weights: its products are rounding errors.
    scale = scale.clamp_min(max(_DEAD * float(scale.max()), torch.finfo(scale.dtype).tiny))
    system = moments.xx.clone()
    system.diagonal(dim1=1, dim2=2).add_(strength * scale[:, None])
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed.any():
        return None
    return start + torch.cholesky_solve(moments.xy - moments.xx @ start, factor)
