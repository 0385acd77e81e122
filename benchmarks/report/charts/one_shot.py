"""Accuracy after the last stage over that right after pruning."""

from __future__ import annotations

from ..data.leaderboard import Leaderboard
from .interactive import INTERVALS, PageFigure, chart_layout, height_for, page_figure, scatter
from .series import Series
from .style import SeriesStyles, hover_text, percent_limits, row_key


def one_shot_series(board: Leaderboard, styles: SeriesStyles) -> list[Series]:
    """A point for each row, both axes in percent; empty if nothing follows pruning."""
    if len(board.stages) < 2:
        return []
    last = board.stages[-1]
    return [
        Series(
            name=row.title,
            style=styles(row),
            x=(100 * row.one_shot.mean,),
            y=(100 * row.stages[last].mean,),
            x_margin=(100 * (row.one_shot.margin or 0),),
            y_margin=(100 * (row.stages[last].margin or 0),),
            hover=(hover_text(board, row),),
            rows=(row_key(board, row),),
        )
        for row in sorted(board.rows, key=lambda row: row.criterion)
        if last in row.stages
    ]


def one_shot_figure(board: Leaderboard, styles: SeriesStyles) -> PageFigure | None:
    """Shows whether a criterion that is better right after pruning is better after the last stage too."""
    series = one_shot_series(board, styles)
    if not series:
        return None
    first, last = board.stages[0], board.stages[-1]
    layout = chart_layout(height_for(len(series)), x=f"test accuracy, {first} (%)", y=f"test accuracy, {last} (%)")
    layout["xaxis"]["range"] = list(percent_limits([row.one_shot for row in board.rows]))
    layout["yaxis"]["range"] = list(percent_limits([row.stages.get(last) for row in board.rows]))
    note = f"The axes differ in scale. {INTERVALS}"
    return page_figure(map(scatter, series), layout, title=f"Accuracy {last}, over that {first}", note=note)
