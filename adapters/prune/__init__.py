"""``prune()``: to a target or by the published rule, verified, undone on an error."""

from .api import prune
from .search import TargetError
from .sensitivities import sensitivity, sensitivity_ratios

__all__ = ["TargetError", "prune", "sensitivity", "sensitivity_ratios"]
