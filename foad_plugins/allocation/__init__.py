"""How many channels each group loses: the loss that removing a share of them causes, weighed against what it saves."""

from __future__ import annotations

from .curves import Sensitivity
from .group_curve import GroupCurve
from .group_widths import Allocation, GroupWidth
from .loss import OutputDifference
from .widths import Budget, allocate, lower_hull, meet_budgets, removal_order

__all__ = [
    "Allocation",
    "Budget",
    "GroupCurve",
    "GroupWidth",
    "OutputDifference",
    "Sensitivity",
    "allocate",
    "lower_hull",
    "meet_budgets",
    "removal_order",
]
