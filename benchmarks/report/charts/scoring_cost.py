"""Time and memory that a criterion takes to score a network."""

from __future__ import annotations

import math
from typing import Literal

from ..data.leaderboard import Leaderboard
from ..formatting import escape_html
from .interactive import PageFigure, chart_layout, height_for, name_axis, page_figure, scatter
from .series import Series
from .style import SeriesStyles, row_key


def scoring_cost_series(board: Leaderboard, styles: SeriesStyles, kind: Literal["time", "memory"]) -> list[Series]:
    """A point for each row, cheapest last: x in seconds or MB, mean over seeds, and y the position from the bottom.

    Rows without a measurement, or with one that rounds to nothing, have no place on a logarithmic axis.
    """
    unit, scale = ("s", 1.0) if kind == "time" else ("MB", 1e-6)
    values = [(row, row.seconds_to_score if kind == "time" else row.peak_bytes_to_score) for row in board.rows]
    known = [(row, scale * value.mean, value.count) for row, value in values if value and value.mean > 0]
    known.sort(key=lambda each: (-each[1], each[0].criterion))
    return [
        Series(
            name=row.title,
            style=styles(row),
            x=(amount,),
            y=(place,),
            hover=(f"<b>{escape_html(row.criterion)}</b><br>{amount:.3g} {unit}, mean over {count} run(s)",),
            rows=(row_key(board, row),),
        )
        for place, (row, amount, count) in enumerate(known)
    ]


def scoring_cost_figure(board: Leaderboard, styles: SeriesStyles, kind: Literal["time", "memory"]) -> PageFigure | None:
    """A line of the chart for each row, the cheapest at the top; None if nothing was measured."""
    series = scoring_cost_series(board, styles, kind)
    if not series:
        return None
    title = "Time to score" if kind == "time" else "Peak memory to score"
    layout = chart_layout(
        height_for(len(series), least=0), x=f"{title} ({'s' if kind == 'time' else 'MB'}), logarithmic"
    )
    layout["yaxis"].update(name_axis([one.name for one in series]), showgrid=True)
    low, high = (math.log10(end(one.x[0] for one in series)) for end in (min, max))
    layout["xaxis"].update(type="log", dtick=max(1, round((high - low) / 4)), tickangle=0, minor={"ticks": "outside"})
    shown = {key for one in series for key in one.rows}
    absent = [row.criterion for row in board.rows if row_key(board, row) not in shown]
    note = f"Not measured, or too small to measure: {', '.join(absent)}." if absent else ""
    return page_figure([scatter(one, showlegend=False) for one in series], layout, title=title, note=note)
