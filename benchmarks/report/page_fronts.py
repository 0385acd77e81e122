"""Accuracy over FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from .board import Leaderboard, Row
from .looks import percent_limits
from .page_looks import Figure, Looks, bare_layout, figure, plain, points, row_key
from .page_marks import LEGEND_LINE, STAGES, error_bars, marks, told
from .published import published

__all__ = ["fronts"]


def fronts(boards: Sequence[Leaderboard], looks: Looks) -> list[Figure]:
    """Accuracy over FLOPs, after the last stage and before it, a line for each entry through the targets.

    Args:
        boards: of one suite that differ in nothing but the target.
        looks: of their criteria.
    """
    rows = [row for board in boards for row in board.rows]
    stages = [name for name, value in STAGES.items() if any(value(row) for row in rows)]
    return [_front(boards, looks, name) for name in reversed(stages[-2:])]


def _front(boards: Sequence[Leaderboard], looks: Looks, stage: str) -> Figure:
    value = STAGES[stage]
    rows = [row for board in boards for row in board.rows]
    lines: dict[tuple[str, str, str | None], list[tuple[Leaderboard, Row]]] = {}
    for board in boards:
        for row in board.rows:
            if value(row):
                lines.setdefault((row.criterion, row.method, row.compensate), []).append((board, row))
    step = _side_step(boards)
    names = sorted(lines, key=lambda key: key[0])
    traces = []
    for place, name in enumerate(names):
        found = sorted(lines[name], key=lambda pair: pair[1].flops.mean)
        values = [value(row) for _, row in found]
        traces.append(
            marks(
                found[0][1],
                looks,
                keys=[row_key(board, row) for board, row in found],
                x=[(row.flops.mean + (place - (len(names) - 1) / 2) * step) / 1e6 for _, row in found],
                y=[100 * each.mean for each in values if each],
                error_y=error_bars(values),
                hovertext=[told(board, row, stage) for board, row in found],
                mode="lines+markers" if len(found) > 1 else "markers",
                line={"color": looks.colour(found[0][1]), "width": 1},
            )
        )
    base = boards[0].rows[0].base
    layout = bare_layout(
        max(380, 150 + LEGEND_LINE * len(names)),
        shapes=[_level(100 * base.mean)],
        annotations=[_level_name(100 * base.mean, f"base {points(base)} %")],
    )
    layout["xaxis"]["title"]["text"] = "MFLOPs of one image"
    layout["yaxis"]["title"]["text"] = f"{stage} test accuracy (%)"
    layout["yaxis"]["range"] = percent_limits([base, *map(value, rows)])
    _widen(layout, [x for trace in traces for x in trace.x], 0.06 * boards[0].rows[0].base_flops / 1e6)
    moved = " Points at nearly equal FLOPs are set side by side; hover for the exact ones." if step else ""
    if stage == "fine-tuned":
        traces += _as_published(boards[0])
    return figure(
        traces,
        layout,
        title=f"Accuracy over FLOPs, {stage}",
        note=f"Bars are 95 % intervals over seeds.{moved} Click a name to hide it, drag to zoom.",
        alt=f"{stage} accuracy over FLOPs for {len(names)} criteria; the tables hold the figures",
    )


def _as_published(board: Leaderboard) -> list[Any]:
    """What papers report, hidden until asked for; at these FLOPs if they were counted as ours are."""
    network = published(board.setup.conditions)
    known = [each for each in network.results if each.accuracy and each.flops_reduction] if network else []
    if not known:
        return []
    base = board.rows[0].base_flops / 1e6
    return [
        go.Scatter(
            name="as published",
            visible="legendonly",
            mode="markers",
            marker={"symbol": "star-open", "size": 11, "color": "var(--soft)"},
            x=[base * (1 - (each.flops_reduction or 0) / 100) for each in known],
            y=[each.accuracy for each in known],
            hoverinfo="text",
            hovertext=[
                f"<i>{plain(each.method)}, as published</i><br>{each.accuracy} %<br>{plain(each.source)}"
                for each in known
            ],
        )
    ]


def _side_step(boards: Sequence[Leaderboard]) -> float:
    """How far apart to set entries that end at one target: all together well inside the gap to the next target."""
    base, most = boards[0].rows[0].base_flops, max(len(board.rows) for board in boards)
    if boards[0].setup.conditions.target.is_free or most < 2:
        return 0.0
    ends = sorted(sum(row.flops.mean for row in board.rows) / len(board.rows) for board in boards)
    gap = min((b - a for a, b in pairwise(ends)), default=base)
    return min(0.012 * base, 0.6 * gap / most, 0.16 * base / most)


def _widen(layout: dict[str, Any], values: Sequence[float], margin: float) -> None:
    """A range that does not blow up what lies within a target's tolerance."""
    low, high = min(values), max(values)
    layout["xaxis"]["range"] = [low - margin, high + margin]


def _level(y: float) -> dict[str, Any]:
    line = {"color": "var(--soft)", "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _level_name(y: float, text: str) -> dict[str, Any]:
    place = {"xref": "paper", "x": 0.01, "y": y, "xanchor": "left", "yanchor": "bottom"}
    return {**place, "text": text, "showarrow": False, "font": {"size": 11, "color": "var(--soft)"}}
