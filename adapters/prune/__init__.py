"""``prune()``: to a target or by the published rule, verified, undone on an error."""

from .api import prune
from .search import TargetError

__all__ = ["TargetError", "prune"]
