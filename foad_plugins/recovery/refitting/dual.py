"""Ridge regression with fewer rows than unknowns: systems between rows instead of between unknowns."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["DualProblem", "Rows"]


class Rows:
    """Input rows and target rows, for each group of a layer.

    Attributes:
        x: (G, R, n).
        y: (G, R, m).
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.x.shape[1]

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add input rows (G, R, n) and target rows (G, R, m)."""
        self.x, self.y = torch.cat([self.x, x], 1), torch.cat([self.y, y], 1)

    def finite(self) -> bool:
        """Whether no NaN or Inf was added."""
        return bool(self.x.isfinite().all() and self.y.isfinite().all())

    def __add__(self, other: Rows) -> Rows:
        """The rows of both."""
        both = Rows(self.x, self.y)
        both.add(other.x, other.y)
        return both


class DualProblem:
    """As :class:`~foad_plugins.recovery.refitting.ridge.PrimalProblem`, from rows.

    The change of the weights is a combination of the rows: with residuals E = Y - X W at the weights at hand, it is
    X' a, where (X X' + R s I) a = E.

    Attributes:
        scale: mean square of the targets left out, around their mean if a constant is fitted.
    """

    def __init__(self, fit: Rows, left_out: Rows, start: Tensor, *, constant: bool) -> None:
        self._start, self._constant = start, constant
        self._both = _Centered(fit + left_out, start, constant)
        self._inside = _Centered(fit, start, constant)
        x, y = left_out.x.double(), left_out.y.double()
        self._across = (x - self._inside.mean_x) @ self._inside.x.mT
        self._residuals = y - x @ start
        # With the constant that the other rows ask for.
        self._left = self._residuals - self._inside.offset
        center = y.mean(1, keepdim=True) if constant else 0.0
        self.scale = float((y - center).square().sum() / left_out.rows)

    def error_at(self, strength: float) -> float | None:
        """Error on the rows left out, of the fit to the other rows; Inf keeps the weights; None if there is no fit."""
        left = self._left
        if strength != float("inf"):
            found = self._inside.combination(strength)
            if found is None:
                return None
            left = left - self._across @ found
        return float(left.square().sum() / left.shape[1])

    def error_of_start(self, constant: Tensor) -> float:
        """Error of the weights at hand, with a constant (G, 1, m), on the rows left out."""
        left = self._residuals - constant
        return float(left.square().sum() / left.shape[1])

    def solution(self, strength: float) -> tuple[Tensor, Tensor] | None:
        """Weight and constant of the fit to all rows."""
        weight = self._start
        if strength != float("inf"):
            found = self._both.combination(strength)
            if found is None:
                return None
            weight = weight + self._both.x.mT @ found
        constant = self._both.mean_y - self._both.mean_x @ weight
        return weight, constant if self._constant else torch.zeros_like(constant)


class _Centered:
    """Rows around their mean, or around zero if no constant is fitted, and residuals of the weights at hand."""

    def __init__(self, rows: Rows, start: Tensor, constant: bool) -> None:
        x, y = rows.x.double(), rows.y.double()
        self.mean_x, self.mean_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        if not constant:
            self.mean_x, self.mean_y = torch.zeros_like(self.mean_x), torch.zeros_like(self.mean_y)
        self.x = x - self.mean_x
        self.offset = self.mean_y - self.mean_x @ start
        self._residuals = y - x @ start - self.offset
        self._products = self.x @ self.x.mT

    def combination(self, strength: float) -> Tensor | None:
        """Factors (G, R, m) of the rows in the change of the weights; None if the system is not positive definite."""
        # The trace is the sum of squares of all inputs.
        traces = self._products.diagonal(dim1=1, dim2=2).sum(1)
        penalty = strength * traces / self.x.shape[2]
        system = self._products.clone()
        system.diagonal(dim1=1, dim2=2).add_(penalty.clamp_min(torch.finfo(torch.float64).tiny)[:, None])
        factor, failed = torch.linalg.cholesky_ex(system)
        return None if failed.any() else torch.cholesky_solve(self._residuals, factor)
