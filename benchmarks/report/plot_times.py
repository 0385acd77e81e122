"""Time and memory to score."""

from __future__ import annotations

import math
from collections.abc import Callable

from matplotlib.axes import Axes

from .board import Leaderboard, Row
from .estimates import Estimate
from .looks import heading, looks, new_figure, png, spelled

__all__ = ["score_times"]


def score_times(board: Leaderboard) -> bytes:
    """A PNG of the seconds that each criterion takes to score the network, the quickest on top.

    The scale is logarithmic, as criteria lie orders of magnitude apart; what rounds to no time at all has no point. A
    second panel shows the memory, where it was measured.
    """
    panels: dict[str, tuple[Callable[[Row], Estimate | None], float]] = {
        f"time to score (s), {board.setup.device}": (lambda row: row.seconds_to_score, 1.0)
    }
    if any(row.peak_bytes_to_score and row.peak_bytes_to_score.mean for row in board.rows):
        panels["peak memory to score (MB)"] = (lambda row: row.peak_bytes_to_score, 1e-6)
    rows = sorted(board.rows, key=lambda row: (-row.seconds_to_score.mean, row.criterion))
    figure = new_figure(6 * len(panels) if len(panels) > 1 else 8, 1.6 + 0.3 * len(rows))
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for place, (title, (value, factor)) in zip(axes, panels.items(), strict=True):
        _panel(place, board, rows, [value(row) for row in rows], factor)
        place.set_xlabel(title)
    figure.suptitle(heading(board))
    return png(figure)


def _panel(axes: Axes, board: Leaderboard, rows: list[Row], values: list[Estimate | None], factor: float) -> None:
    look = looks(board)
    ends = [factor * (value.mean + (value.margin or 0)) for value in values if value and value.mean > 0]
    starts = [factor * value.mean for value in values if value and value.mean > 0]
    if starts:
        axes.set_xscale("log")
        # Whole decades, one at least, which a single value would not give.
        first, last = math.floor(math.log10(min(starts))), math.ceil(math.log10(max(ends)))
        axes.set_xlim(10.0**first, 10.0 ** max(last, first + 1))
    axes.set_yticks(range(len(rows)), [spelled(row.title) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        if value is None or value.mean <= 0:
            continue
        mean, margin = factor * value.mean, factor * (value.margin or 0)
        drawn = look[row.criterion]
        # An interval that reaches below 0 has no left end on this scale.
        left = min(margin, 0.9 * mean)
        axes.errorbar(
            [mean],
            [place],
            xerr=[[left], [margin]],
            fmt=drawn.marker,
            color=drawn.colour,
            markerfacecolor=drawn.inside,
            capsize=3,
        )
    axes.grid(alpha=0.3, axis="x", which="both")
