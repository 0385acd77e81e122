"""What a refit did to one layer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LayerFit"]


@dataclass(frozen=True)
class LayerFit:
    """One layer that was solved, or would have been.

    Attributes:
        name: of the layer.
        error_before: mean square error of its output against the original's, over the variance of the latter, with the
            weights that it had, on its input from the refitted layers before it; on the rows left out.
        error_after: the same with the weights fitted on the other rows.
        strength: of the penalty on the distance to the weights that it had; Inf if only a constant was fitted.
        rows: number of rows in all.
        unknowns: number of weights of one output channel.
        at_sum: whether it was fitted to a residual sum.
        changed: False if no fit was better than the weights that it had.
    """

    name: str
    error_before: float
    error_after: float
    strength: float
    rows: int
    unknowns: int
    at_sum: bool = False
    changed: bool = True
