"""Removals by sensitivity: what the output loses, weighed against what the network saves."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ...allocation.group_curve import GroupCurve
from ...allocation.widths import Budget, budget_order
from .probes import measure_curves
from .search import Candidate, Limits, Schedule, allowed_removals, fixed_removal
from .settings import PruneConfig, unavailable

__all__ = ["CurveCache", "schedule_by_sensitivity"]


class CurveCache:
    """Measures the curves of all groups once a step.

    Args:
        config: of the whole call.

    Attributes:
        curves: of the current step; empty until they are measured.
        notes: for the report.
    """

    def __init__(self, config: PruneConfig) -> None:
        self._config = config
        self.curves: tuple[GroupCurve, ...] = ()
        self.notes: tuple[str, ...] = ()

    def clear(self) -> None:
        """Start a new step."""
        self.curves, self.notes = (), ()

    def measure(self, model: nn.Module, candidates: Sequence[Candidate]) -> Sequence[GroupCurve]:
        """The curves of some candidates, measured now unless they are known.

        Raises:
            UnavailableError: :func:`~foad_plugins.adapters.prune.probes.measure_curves` failed.
        """
        if candidates and not self.curves:
            # A refit starts from what least squares gives.
            method = "least_squares" if self._config.compensate == "refit" else self._config.compensate
            with unavailable("sensitivity"):
                found = measure_curves(model, candidates, self._config.data, method=method)
            self.curves, self.notes = found.curves, found.notes
        known = {curve.name: curve for curve in self.curves}
        return [known[candidate.group.name] for candidate in candidates]


def schedule_by_sensitivity(
    candidates: Sequence[Candidate], curves: Sequence[GroupCurve], limits: Limits, budgets: Sequence[Budget]
) -> Schedule:
    """All removals that are allowed, the least loss for each unit of saved cost first.

    Args:
        candidates: the groups.
        curves: their curves, in the same order.
        limits: what may be removed at most.
        budgets: one or two costs; of a single one the share does not count.
    """
    start, allowed = [], []
    for number, (candidate, curve) in enumerate(zip(candidates, curves, strict=True)):
        removals = allowed_removals(candidate, limits.round_to, limits.most[number])
        if curve.limit is not None:
            removals = [count for count in removals if count <= curve.limit]
        fixed = limits.fixed.get(number)
        start.append(0 if fixed is None else fixed_removal(candidate, removals, fixed))
        allowed.append(removals if fixed is None else [])
    return start, budget_order([curve.loss for curve in curves], allowed, start, budgets)
