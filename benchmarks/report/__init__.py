"""Tables and plots, from records alone."""

from .render import NoRecordsError, render
from .summary import Leaderboard, Row, Spread, leaderboards

__all__ = ["Leaderboard", "NoRecordsError", "Row", "Spread", "leaderboards", "render"]
