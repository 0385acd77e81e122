"""What is to be removed from each coupled group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ...allocation.group_curve import GroupCurve
from ...criterion.selection import Selection
from ...report.data import LatencyTrial
from ..torch_pruning.groups import CoupledGroup

__all__ = ["GroupDecision", "Plan"]


@dataclass(frozen=True, eq=False)
class GroupDecision:
    """A group, and which of its relative indices are kept and removed."""

    group: CoupledGroup
    selection: Selection

    @property
    def representatives(self) -> dict[int, int]:
        """The channels of the root that are removed, each with its representative."""
        removed, kept = (
            self.group.root_indices(part) for part in (self.selection.removed, self.selection.representative)
        )
        return dict(zip(removed, kept, strict=True))


@dataclass(frozen=True, eq=False)
class Plan:
    """What to remove.

    Attributes:
        decisions: for all groups that were scored.
        similarity: (C, C) by name of the group.
        curves: the loss of each group, where the ranking is by sensitivity.
        predicted: how far the cost after the removal is above the target, as a share of the original's; None where
            nothing is counted.
        at_minimum: whether everything is removed that may be removed, since no smaller plan is predicted to suffice.
        trials: networks that were timed.
        notes: for the report.
    """

    decisions: tuple[GroupDecision, ...] = ()
    similarity: Mapping[str, Tensor] = field(default_factory=dict)
    curves: tuple[GroupCurve, ...] = ()
    predicted: float | None = None
    at_minimum: bool = False
    trials: tuple[LatencyTrial, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changing(self) -> list[GroupDecision]:
        """The decisions that remove channels."""
        return [decision for decision in self.decisions if decision.selection.removed]
