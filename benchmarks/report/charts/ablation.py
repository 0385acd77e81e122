"""Widths and accuracy over the rule's parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go
from matplotlib.axes import Axes

from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard, Row
from ..formatting import counted, percent_change
from .style import (
    GREY,
    PageFigure,
    bare_layout,
    figure,
    heading,
    legend_below,
    new_figure,
    numbered_marker,
    percent_limits,
    plain,
    png,
    points,
    row_key,
    series_look,
    stacked_height,
)

__all__ = ["ablation_figures", "ablation_lines"]


def ablation_lines(board: Leaderboard) -> bytes:
    """A PNG with a line for each t over s: channels kept, FLOPs kept, and the accuracies that were measured."""
    by_t: dict[int, list[Row]] = {}
    for row in sorted((row for row in board.rows if row.rule), key=_parameters):
        by_t.setdefault(_parameters(row)[0], []).append(row)
    panels = _panels(board)
    figure = new_figure(11, 8.2 if len(panels) > 2 else 4.6, entries=len(by_t) + 1)
    grid = figure.subplots((len(panels) + 1) // 2, 2, squeeze=False).flatten()
    for place, (title, (value, factor)) in zip(grid, panels.items(), strict=False):
        for number, (t, rows) in enumerate(by_t.items()):
            _line(place, number, f"t = {t}", rows, value, factor)
        if "accuracy" in title:
            base = 100 * board.rows[0].base.mean
            place.set_ylim(*percent_limits([board.rows[0].base, *(value(row) for row in board.rows)]))
            place.axhline(base, color=GREY, linewidth=0.8, linestyle=":")
        place.set_xlabel("s, the least similarity of a channel that goes")
        place.set_ylabel(title)
        place.grid(alpha=0.3)
    for place in grid[len(panels) :]:
        place.set_axis_off()
    legend_below(figure, grid[0])
    dotted = "dotted: base model" if len(board.seeds) < 2 else "bars: 95 % interval; dotted: base model"
    figure.suptitle(f"{heading(board)} ({dotted})")
    return png(figure)


def _panels(board: Leaderboard) -> dict[str, tuple[Callable[[Row], Estimate | None], float]]:
    panels: dict[str, tuple[Callable[[Row], Estimate | None], float]] = {}
    if any(row.channels_kept for row in board.rows):
        panels["channels kept"] = (lambda row: row.channels_kept, 1)
    panels["MFLOPs of one image"] = (lambda row: row.flops, 1e-6)
    panels["one-shot accuracy (%)"] = (lambda row: row.one_shot, 100)
    if any(row.one_shot_bn for row in board.rows):
        panels["BN moved accuracy (%)"] = (lambda row: row.one_shot_bn, 100)
    if any(row.fine_tuned for row in board.rows):
        panels["fine-tuned accuracy (%)"] = (lambda row: row.fine_tuned, 100)
    return panels


def _line(
    axes: Axes, number: int, label: str, rows: list[Row], value: Callable[[Row], Estimate | None], factor: float
) -> None:
    look = series_look(number)
    found = [(_parameters(row)[1], one) for row in rows if (one := value(row)) is not None]
    axes.errorbar(
        [s for s, _ in found],
        [factor * one.mean for _, one in found],
        yerr=[factor * (one.margin or 0) for _, one in found],
        color=look.color,
        marker=look.marker,
        capsize=3,
        label=label,
    )


def _parameters(row: Row) -> tuple[int, float]:
    return (row.rule.neighbors, row.rule.threshold) if row.rule else (0, 0.0)


def ablation_figures(board: Leaderboard) -> list[PageFigure]:
    """Accuracy over FLOPs, then heat maps of accuracy, FLOPs, parameters and channels over t and s.

    Entries that differ in more than t and s, such as compensation, have figures of their own.
    """
    kinds: dict[tuple[str, str | None], list[Row]] = {}
    for row in board.rows:
        if row.rule is not None:
            kinds.setdefault((row.runs[0].inputs.criterion.name, row.compensate), []).append(row)
    found: list[PageFigure] = []
    for (name, compensate), rows in kinds.items():
        taken_over = f" with {compensate.replace('_', ' ')}" if compensate else ""
        prefix = f"{name}{taken_over}: " if len(kinds) > 1 else ""
        found += [_front(board, rows, prefix), *_maps(rows, prefix)]
    return found


def _front(board: Leaderboard, rows: Sequence[Row], prefix: str) -> PageFigure:
    """Accuracy over FLOPs, a line through the s of each t."""
    by_t: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.flops.mean):
        if row.rule:
            by_t.setdefault(row.rule.neighbors, []).append(row)
    traces = []
    for number, (t, line) in enumerate(sorted(by_t.items())):
        marker = numbered_marker(number)
        traces.append(
            go.Scatter(
                name=f"t={t}",
                meta={"rows": [row_key(board, row) for row in line]},
                mode="lines+markers",
                marker=marker,
                line={"color": marker["color"], "width": 1},
                x=[row.flops.mean / 1e6 for row in line],
                y=[100 * row.last.mean for row in line],
                error_y={"type": "data", "array": [100 * (row.last.margin or 0) for row in line], "thickness": 1},
                hoverinfo="text",
                hovertext=[_told_of(row) for row in line],
            )
        )
    layout = bare_layout(400)
    layout["xaxis"]["title"]["text"] = "MFLOPs of one image"
    layout["yaxis"]["title"]["text"] = f"{_stage(rows[0])} test accuracy (%)"
    layout["yaxis"]["range"] = percent_limits([row.last for row in rows])
    note = f"A point for each s; bars are 95 % intervals over seeds. The base model has {points(rows[0].base)} %."
    return figure(traces, layout, title=f"{prefix}accuracy over FLOPs", note=note)


def _told_of(row: Row) -> str:
    rule = row.rule
    lines = [
        f"<b>{plain(row.criterion)}</b>",
        *([f"t={rule.neighbors}, s={rule.threshold:g}"] if rule else []),
        f"{_stage(row)}: {points(row.last)} %",
        f"{counted(row.flops.mean)} FLOPs ({percent_change(row.flops_reduction.mean)})",
        f"{counted(row.params.mean)} parameters ({percent_change(row.params_reduction.mean)})",
    ]
    return "<br>".join(lines)


def _stage(row: Row) -> str:
    return "fine-tuned" if row.fine_tuned else "BN moved" if row.one_shot_bn else "one-shot"


def _maps(rows: Sequence[Row], prefix: str) -> list[PageFigure]:
    maps: dict[str, Callable[[Row], Estimate | None]] = {
        f"{_stage(rows[0])} accuracy (%)": lambda row: row.last,
        "FLOPs kept (%)": lambda row: _rest(row.flops_reduction),
        "parameters kept (%)": lambda row: _rest(row.params_reduction),
        "channels kept (%)": lambda row: _channels(row),
    }
    found = [_map(rows, prefix, title, value) for title, value in maps.items()]
    return [each for each in found if each is not None]


def _rest(reduction: Estimate) -> Estimate:
    return Estimate(1 - reduction.mean, reduction.margin, reduction.count)


def _channels(row: Row) -> Estimate | None:
    kept, there = row.channels_kept, row.channels
    if kept is None or not there:
        return None
    return Estimate(kept.mean / there, None if kept.margin is None else kept.margin / there, kept.count)


def _map(rows: Sequence[Row], prefix: str, title: str, value: Callable[[Row], Estimate | None]) -> PageFigure | None:
    cells = {(row.rule.neighbors, row.rule.threshold): (row, each) for row in rows if row.rule and (each := value(row))}
    if not cells:
        return None
    ts, ss = sorted({t for t, _ in cells}), sorted({s for _, s in cells})
    grid = [[cells.get((t, s)) for s in ss] for t in ts]
    heat = go.Heatmap(
        z=[[100 * cell[1].mean if cell else None for cell in line] for line in grid],
        x=[f"{s:g}" for s in ss],
        y=[str(t) for t in ts],
        text=[[f"{100 * cell[1].mean:.1f}" if cell else "" for cell in line] for line in grid],
        texttemplate="%{text}",
        hovertext=[[_told(title, *cell) if cell else "" for cell in line] for line in grid],
        hoverinfo="text",
        hoverongaps=False,
        colorscale="Cividis",
        xgap=1,
        ygap=1,
        colorbar={"thickness": 12},
    )
    layout = bare_layout(stacked_height(len(ts)) + 100)
    # As names: evenly spaced whatever the values are.
    layout["xaxis"].update(type="category", showgrid=False)
    layout["xaxis"]["title"]["text"] = "threshold s"
    layout["yaxis"].update(type="category", showgrid=False)
    layout["yaxis"]["title"]["text"] = "neighbors t"
    return figure([heat], layout, title=f"{prefix}{title}", note="Mean over seeds.")


def _told(title: str, row: Row, value: Estimate) -> str:
    return f"<b>{plain(row.criterion)}</b><br>{title}: {points(value)}"
