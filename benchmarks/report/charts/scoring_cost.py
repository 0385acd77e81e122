"""Time and memory to score."""

from __future__ import annotations

import math
from collections.abc import Callable

from matplotlib.axes import Axes

from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard, Row
from .style import (
    Looks,
    PageFigure,
    bare_layout,
    figure,
    heading,
    looks,
    marks,
    new_figure,
    plain,
    png,
    row_key,
    spelled,
    stacked_height,
    ticks,
)

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
            color=drawn.color,
            markerfacecolor=drawn.inside,
            capsize=3,
        )
    axes.grid(alpha=0.3, axis="x", which="both")


def _cost(board: Leaderboard, looks: Looks, kind: str) -> PageFigure | None:
    """What a criterion takes to score, one line each."""
    is_time = kind == "time"
    unit, scale = ("s", 1.0) if is_time else ("MB", 1e-6)
    values = [(row, row.seconds_to_score if is_time else row.peak_bytes_to_score) for row in reversed(board.rows)]
    # A logarithmic axis has no place for zero.
    known = [(row, scale * value.mean, value.count) for row, value in values if value and value.mean > 0]
    if not known:
        return None
    traces = [
        marks(
            row,
            looks,
            keys=[row_key(board, row)],
            x=[amount],
            y=[place],
            hovertext=[f"<b>{plain(row.criterion)}</b><br>{amount:.3g} {unit}, mean over {count} run(s)"],
            showlegend=False,
        )
        for place, (row, amount, count) in enumerate(known)
    ]
    layout = bare_layout(stacked_height(len(traces)))
    layout["yaxis"].update(ticks([row.criterion for row, _, _ in known]), showgrid=True)
    layout["xaxis"].update(type="log", dtick=1, minor={"ticks": "outside"})
    layout["xaxis"]["title"]["text"] = f"{'time' if is_time else 'peak memory'} to score ({unit}), logarithmic"
    shown = {id(row) for row, _, _ in known}
    absent = [row.criterion for row in board.rows if id(row) not in shown]
    note = f"Nothing measured, or nothing to speak of: {', '.join(absent)}." if absent else ""
    return figure(traces, layout, title="Time to score" if is_time else "Peak memory to score", note=note)
