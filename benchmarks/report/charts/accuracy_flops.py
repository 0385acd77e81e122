"""Accuracy over FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
from matplotlib.axes import Axes

from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard, Row
from ..data.published import published
from .style import (
    GREY,
    LEGEND_LINE,
    STAGES,
    Looks,
    PageFigure,
    bare_layout,
    bars,
    error_bars,
    figure,
    heading,
    legend_below,
    looks,
    marks,
    new_figure,
    percent_limits,
    plain,
    png,
    points,
    row_key,
    told,
)

__all__ = ["accuracy_over_flops", "fronts"]


def accuracy_over_flops(board: Leaderboard) -> bytes:
    """A PNG with a panel for each stage that was measured, from one-shot to fine-tuned, each with the base model.

    Panels, because one-shot accuracies can lie tens of points apart and fine-tuned ones less than one.
    Entries that end at the same FLOPs would hide each other; they are set side by side, and the panel says
    so.
    """
    panels = _panels(board)
    # Two panels leave no room for a title of some length.
    figure = new_figure(5 * max(2, len(panels)), 4.8, entries=len(board.rows) + 1)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, (title, values) in zip(axes, panels.items(), strict=True):
        _panel(place, board, title, values)
    legend_below(figure, axes[0])
    figure.suptitle(heading(board))
    return png(figure)


def _panels(board: Leaderboard) -> dict[str, list[Estimate | None]]:
    panels: dict[str, list[Estimate | None]] = {"one-shot (no fine-tuning)": [row.one_shot for row in board.rows]}
    moved = any(row.one_shot_bn for row in board.rows)
    if moved:
        panels["one-shot, BN statistics moved"] = [row.one_shot_bn for row in board.rows]
    if not moved or board.is_tuned:
        panels["fine-tuned"] = [row.fine_tuned for row in board.rows]
    return panels


def _panel(axes: Axes, board: Leaderboard, title: str, values: list[Estimate | None]) -> None:
    base = board.rows[0].base
    base_flops = board.rows[0].base_flops
    # All together no wider than reads as one place.
    step = min(0.018, 0.16 / len(board.rows)) * base_flops
    middle = (len(board.rows) - 1) / 2
    look = looks(board)
    for place, (row, value) in enumerate(zip(board.rows, values, strict=True)):
        bars(axes, look[row.criterion], row, [(row.flops.mean + (place - middle) * step) / 1e6], [value])
    axes.errorbar(
        [base_flops / 1e6],
        [100 * base.mean],
        yerr=[100 * (base.margin or 0)],
        fmt="*",
        markersize=12,
        color=GREY,
        capsize=3,
        label="base model",
    )
    axes.axhline(100 * base.mean, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_title(title)
    axes.set_ylim(*percent_limits([*values, base]))
    axes.set_xlim(0, 1.08 * base_flops / 1e6)
    axes.set_xlabel("MFLOPs of one image (fvcore: multiply-adds)\npoints at equal FLOPs are set side by side")
    axes.set_ylabel(f"test accuracy (%){board.spread}")
    axes.grid(alpha=0.3)


def fronts(boards: Sequence[Leaderboard], looks: Looks) -> list[PageFigure]:
    """Accuracy over FLOPs, after the last stage and before it, a line for each entry through the targets.

    Args:
        boards: of one suite that differ in nothing but the target.
        looks: of their criteria.
    """
    rows = [row for board in boards for row in board.rows]
    stages = [name for name, value in STAGES.items() if any(value(row) for row in rows)]
    return [_front(boards, looks, name) for name in reversed(stages[-2:])]


def _front(boards: Sequence[Leaderboard], looks: Looks, stage: str) -> PageFigure:
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
                line={"color": looks.color(found[0][1]), "width": 1},
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
