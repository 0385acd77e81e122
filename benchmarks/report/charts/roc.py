"""True over false accept rate, for tasks that are judged by pairs."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from matplotlib.axes import Axes

from ...datasets.evaluation import Verification
from ..data.leaderboard import Leaderboard
from ..data.verification import base_evaluation, is_verification, last_evaluation, roc_points
from .style import (
    GREY,
    LEGEND_LINE,
    Looks,
    PageFigure,
    bare_layout,
    figure,
    heading,
    legend_below,
    looks,
    marks,
    new_figure,
    plain,
    png,
    row_key,
    spelled,
)

__all__ = ["roc_figure"]


def roc_figure(board: Leaderboard, looks: Looks) -> PageFigure | None:
    """The first seed of each entry, and the network before pruning; None for other tasks."""
    if not is_verification(board):
        return None
    traces = []
    for row in board.rows:
        if (last := last_evaluation(row.runs[0])) is None:
            continue
        far, tar = roc_points(last)
        traces.append(
            marks(
                row,
                looks,
                keys=[row_key(board, row)],
                x=far,
                y=tar,
                hovertext=[_told(plain(row.criterion), *rates) for rates in zip(far, tar, strict=True)],
                mode="lines",
                line={"color": looks.color(row), "width": 1.5, "shape": "hv"},
            )
        )
    far, tar = roc_points(base_evaluation(board))
    texts = [_told("not pruned", *rates) for rates in zip(far, tar, strict=True)]
    style = {"color": "var(--soft)", "width": 1.5, "dash": "dot", "shape": "hv"}
    traces.append(
        go.Scatter(name="not pruned", x=far, y=tar, mode="lines", line=style, hoverinfo="text", hovertext=texts)
    )
    layout = bare_layout(max(380, 150 + LEGEND_LINE * len(traces)))
    layout["xaxis"].update(type="log", dtick=1, minor={"ticks": "outside"})
    layout["xaxis"]["title"]["text"] = "false accept rate, logarithmic"
    layout["yaxis"]["title"]["text"] = "true accept rate (%)"
    note = "First seed of each entry. Click a name to hide it, drag to zoom."
    return figure(traces, layout, title="True over false accept rate", note=note)


def _told(name: str, far: float, tar: float) -> str:
    return f"<b>{name}</b><br>{tar:.1f} % at a false accept rate of {far:.4g}"


def roc(board: Leaderboard) -> bytes:
    """A PNG of true over false accept rate, of the first seed of each entry and of the network before pruning."""
    figure = new_figure(8, 5.2, entries=len(board.rows) + 1)
    axes = figure.subplots()
    look = looks(board)
    for row in board.rows:
        last = last_evaluation(row.runs[0])
        if last is not None:
            _curve(axes, last, label=spelled(row.criterion), color=look[row.criterion].color)
    _curve(axes, base_evaluation(board), label="not pruned", color=GREY, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("false accept rate")
    axes.set_ylabel("true accept rate (%)")
    axes.grid(alpha=0.3)
    legend_below(figure, axes)
    figure.suptitle(heading(board))
    return png(figure)


def _curve(axes: Axes, verification: Verification, **style: Any) -> None:
    axes.plot(*roc_points(verification), drawstyle="steps-post", **style)
