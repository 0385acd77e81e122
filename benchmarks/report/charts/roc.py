"""True over false accept rate, for verification."""

from __future__ import annotations

import plotly.graph_objects as go

from ...datasets.evaluation import Verification
from ..data.leaderboard import Leaderboard
from ..data.verification import base_evaluation, is_verification, last_evaluation, roc_points
from ..formatting import escape_html
from .interactive import PageFigure, chart_layout, height_for, page_figure, scatter
from .series import Series
from .style import SeriesStyles, row_key


def roc_series(board: Leaderboard, styles: SeriesStyles) -> list[Series]:
    """True accept rates in percent over false ones as fractions, of the first seed of each row."""
    found = []
    for row in board.rows:
        last = last_evaluation(row.runs[0])
        if last is not None:
            far, tar = roc_points(last)
            found.append(
                Series(
                    name=row.title,
                    style=styles(row),
                    x=tuple(far),
                    y=tuple(tar),
                    hover=_hover(row.criterion, last),
                    rows=(row_key(board, row),),
                )
            )
    return found


def roc_figure(board: Leaderboard, styles: SeriesStyles) -> PageFigure | None:
    """A line for each row, and one for the network before pruning; None for other tasks."""
    if not is_verification(board):
        return None
    traces = [
        scatter(series, mode="lines", line={"color": series.style.css_color, "width": 1.5, "shape": "hv"})
        for series in roc_series(board, styles)
    ]
    base = base_evaluation(board)
    far, tar = roc_points(base)
    line = {"color": "var(--soft)", "width": 1.5, "dash": "dot", "shape": "hv"}
    hover = list(_hover("not pruned", base))
    traces.append(
        go.Scatter(name="not pruned", x=far, y=tar, mode="lines", line=line, hoverinfo="text", hovertext=hover)
    )
    layout = chart_layout(height_for(len(traces)), x="false accept rate, logarithmic", y="true accept rate (%)")
    layout["xaxis"].update(type="log", dtick=1, minor={"ticks": "outside"})
    note = "First seed of each criterion. Click a name to hide it, drag to zoom."
    return page_figure(traces, layout, title="True over false accept rate", note=note)


def _hover(name: str, verification: Verification) -> tuple[str, ...]:
    rates = zip(*roc_points(verification), strict=True)
    return tuple(f"<b>{escape_html(name)}</b><br>{tar:.1f} % at a false accept rate of {far:.4g}" for far, tar in rates)
