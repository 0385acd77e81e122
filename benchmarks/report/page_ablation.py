"""What t and s of the published rule make of widths and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from .board import Leaderboard, Row
from .estimates import Estimate
from .page_looks import Figure, bare_layout, figure, plain, points, stacked_height

__all__ = ["ablation_figures"]


def ablation_figures(board: Leaderboard) -> list[Figure]:
    """Heat maps of accuracy, FLOPs, parameters and channels over t and s.

    Entries that differ in more than t and s, such as compensation, have maps of their own.
    """
    kinds: dict[tuple[str, str | None], list[Row]] = {}
    for row in board.rows:
        if row.rule is not None:
            kinds.setdefault((row.runs[0].inputs.criterion.name, row.compensate), []).append(row)
    return [
        each
        for (name, compensate), rows in kinds.items()
        for each in _maps(rows, f"{name}, {compensate.replace('_', ' ')}: " if compensate else "" if len(kinds) == 1 else f"{name}: ")
    ]


def _maps(rows: Sequence[Row], prefix: str) -> list[Figure]:
    stage = "fine-tuned" if rows[0].fine_tuned else "BN moved" if rows[0].one_shot_bn else "one-shot"
    maps: dict[str, Callable[[Row], Estimate | None]] = {
        f"{stage} accuracy (%)": lambda row: row.last,
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
