"""What t and s of the published rule make of widths and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from .board import Leaderboard, Row
from .cells import counted
from .estimates import Estimate
from .looks import percent_limits
from .page_columns import percent_change
from .page_looks import Figure, bare_layout, figure, numbered_marker, plain, points, row_key, stacked_height

__all__ = ["ablation_figures"]


def ablation_figures(board: Leaderboard) -> list[Figure]:
    """Accuracy over FLOPs, then heat maps of accuracy, FLOPs, parameters and channels over t and s.

    Entries that differ in more than t and s, such as compensation, have figures of their own.
    """
    kinds: dict[tuple[str, str | None], list[Row]] = {}
    for row in board.rows:
        if row.rule is not None:
            kinds.setdefault((row.runs[0].inputs.criterion.name, row.compensate), []).append(row)
    found: list[Figure] = []
    for (name, compensate), rows in kinds.items():
        taken_over = f" with {compensate.replace('_', ' ')}" if compensate else ""
        prefix = f"{name}{taken_over}: " if len(kinds) > 1 else ""
        found += [_front(board, rows, prefix), *_maps(rows, prefix)]
    return found


def _front(board: Leaderboard, rows: Sequence[Row], prefix: str) -> Figure:
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


def _maps(rows: Sequence[Row], prefix: str) -> list[Figure]:
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


def _map(rows: Sequence[Row], prefix: str, title: str, value: Callable[[Row], Estimate | None]) -> Figure | None:
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
    layout["yaxis"]["title"]["text"] = "neighbours t"
    return figure([heat], layout, title=f"{prefix}{title}", note="Mean over seeds.")


def _told(title: str, row: Row, value: Estimate) -> str:
    return f"<b>{plain(row.criterion)}</b><br>{title}: {points(value)}"
