"""How many channels each group loses: the loss each group's share of removed channels costs, weighed against its cost."""

from __future__ import annotations

from .curves import Allocation, GroupCurve, Sensitivity
from .loss import OutputDifference
from .widths import Budget, allocate, lower_hull, meet_budgets, removal_order

__all__ = [
    "Allocation",
    "Budget",
    "GroupCurve",
    "OutputDifference",
    "Sensitivity",
    "allocate",
    "lower_hull",
    "meet_budgets",
    "removal_order",
]
