"""Points of rows: what they look like, how sure they are, and what hovering over them tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from .board import Leaderboard, Row
from .cells import counted
from .estimates import Estimate
from .page_columns import percent_change
from .page_looks import Looks, brief, plain, points

__all__ = ["LEGEND_LINE", "STAGES", "error_bars", "marks", "told"]

LEGEND_LINE = 20
"""Pixels of a line of a legend."""

STAGES: dict[str, Callable[[Row], Estimate | None]] = {
    "one-shot": lambda row: row.one_shot,
    "BN moved": lambda row: row.one_shot_bn,
    "fine-tuned": lambda row: row.fine_tuned,
}
"""Accuracies in the order in which they come about, and how to read them off a row."""


def marks(row: Row, looks: Looks, *, keys: list[str], **more: Any) -> Any:
    """A series of one row, or of the rows of one entry, that the page's filters know by their keys."""
    chosen = {"mode": "markers", "marker": looks.marker(row), "hoverinfo": "text", **more}
    return go.Scatter(name=brief(row.criterion), meta={"rows": keys}, **chosen)


def error_bars(values: Sequence[Estimate | None]) -> dict[str, Any]:
    """Intervals in points."""
    margins = [100 * (value.margin or 0) for value in values if value]
    return {"type": "data", "array": margins, "thickness": 1, "width": 3, "visible": any(margins)}


def told(board: Leaderboard, row: Row, stage: str | None = None) -> str:
    """What hovering says of a row: all its stages, or one."""
    stages = [(name, value(row)) for name, value in STAGES.items() if stage in (None, name)]
    seeds = f"{len(row.seeds)} seed{'s' if len(row.seeds) > 1 else ''}"
    lines = [
        f"<b>{plain(row.criterion)}</b>",
        *(f"{name}: {points(value)} %" for name, value in stages if value),
        f"{counted(row.flops.mean)} FLOPs ({percent_change(row.flops_reduction.mean)})",
        f"{counted(row.params.mean)} parameters ({percent_change(row.params_reduction.mean)})",
        f"{seeds}; {plain(str(board.setup.conditions.target))}",
    ]
    return "<br>".join(lines)
