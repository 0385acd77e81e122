"""Tables and charts, from records alone."""

from .data.estimates import Estimate, estimate
from .data.from_records import leaderboards
from .data.leaderboard import LatencyEstimate, Leaderboard, Row
from .render import NoRecordsError, render

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
