"""Tables and plots, from records alone."""

from .board import LatencyEstimate, Leaderboard, Row
from .estimates import Estimate, estimate
from .render import NoRecordsError, render
from .summary import leaderboards

__all__ = [
    "Estimate",
    "LatencyEstimate",
    "Leaderboard",
    "NoRecordsError",
    "Row",
    "estimate",
    "leaderboards",
    "render",
]
