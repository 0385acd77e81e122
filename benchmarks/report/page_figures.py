"""Plots of a comparison: fronts, stages, cost, widths and training curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from .board import Leaderboard, Row
from .cells import counted
from .estimates import Estimate, estimate
from .looks import percent_limits
from .page_columns import percent_change
from .page_looks import Figure, Looks, bare_layout, figure, layer_ticks, plain, points, row_key, stacked_height, ticks
from .published import published

__all__ = ["board_figures", "fronts", "widths"]

_LEGEND_LINE = 20
_STAGES: dict[str, Callable[[Row], Estimate | None]] = {
    "one-shot": lambda row: row.one_shot,
    "BN moved": lambda row: row.one_shot_bn,
    "fine-tuned": lambda row: row.fine_tuned,
}


def fronts(boards: Sequence[Leaderboard], looks: Looks) -> list[Figure]:
    """Accuracy over FLOPs, after the last stage and before it, a line for each entry through the targets.

    Args:
        boards: of one suite that differ in nothing but the target.
        looks: of their criteria.
    """
    rows = [row for board in boards for row in board.rows]
    stages = [name for name, value in _STAGES.items() if any(value(row) for row in rows)]
    return [_front(boards, looks, name) for name in reversed(stages[-2:])]


def board_figures(board: Leaderboard, looks: Looks) -> list[Figure]:
    """The plots that stand below a table."""
    found = [_stages(board, looks), _cost(board, looks, "time"), _cost(board, looks, "memory")]
    found += [_curves(board, looks, "accuracy"), _curves(board, looks, "loss"), widths(board)]
    return [each for each in found if each is not None]


def _front(boards: Sequence[Leaderboard], looks: Looks, stage: str) -> Figure:
    value = _STAGES[stage]
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
            _marks(
                found[0][1],
                looks,
                keys=[row_key(board, row) for board, row in found],
                x=[(row.flops.mean + (place - (len(names) - 1) / 2) * step) / 1e6 for _, row in found],
                y=[100 * each.mean for each in values if each],
                error_y=_error(values),
                hovertext=[_told(board, row, stage) for board, row in found],
                mode="lines+markers" if len(found) > 1 else "markers",
                line={"color": looks.colour(found[0][1]), "width": 1},
            )
        )
    base = boards[0].rows[0].base
    layout = bare_layout(
        max(380, 150 + _LEGEND_LINE * len(names)),
        legend={"itemsizing": "constant", "tracegroupgap": 0},
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
    told = [each for each in network.results if each.accuracy and each.flops_reduction] if network else []
    if not told:
        return []
    base = board.rows[0].base_flops / 1e6
    return [
        go.Scatter(
            name="as published",
            visible="legendonly",
            mode="markers",
            marker={"symbol": "star-open", "size": 11, "color": "var(--soft)"},
            x=[base * (1 - (each.flops_reduction or 0) / 100) for each in told],
            y=[each.accuracy for each in told],
            hoverinfo="text",
            hovertext=[
                f"<i>{plain(each.method)}, as published</i><br>{each.accuracy} %<br>{plain(each.source)}" for each in told
            ],
        )
    ]


def _stages(board: Leaderboard, looks: Looks) -> Figure | None:
    """The last stage over the first: whether what looks good before training is good after it."""
    later = [name for name, value in _STAGES.items() if any(value(row) for row in board.rows)]
    if len(later) < 2:
        return None
    first, last = (_STAGES["one-shot"], _STAGES[later[-1]])
    traces = [
        _marks(
            row,
            looks,
            keys=[row_key(board, row)],
            x=[100 * row.one_shot.mean],
            y=[100 * end.mean],
            error_x=_error([first(row)]),
            error_y=_error([end]),
            hovertext=[_told(board, row)],
        )
        for row in sorted(board.rows, key=lambda row: row.criterion)
        if (end := last(row))
    ]
    layout = bare_layout(max(380, 150 + _LEGEND_LINE * len(traces)), legend={"itemsizing": "constant"})
    layout["xaxis"]["title"]["text"] = "one-shot test accuracy (%)"
    layout["yaxis"]["title"]["text"] = f"{later[-1]} test accuracy (%)"
    layout["xaxis"]["range"] = percent_limits([first(row) for row in board.rows])
    layout["yaxis"]["range"] = percent_limits([last(row) for row in board.rows])
    note = "The axes differ in scale. Bars are 95 % intervals over seeds."
    return figure(traces, layout, title=f"One-shot against {later[-1]}", note=note)


def _cost(board: Leaderboard, looks: Looks, kind: str) -> Figure | None:
    """What a criterion takes to score, one line each."""
    is_time = kind == "time"
    unit, scale = ("s", 1.0) if is_time else ("MB", 1e-6)
    traces = []
    for row in reversed(board.rows):
        value = row.seconds_to_score if is_time else row.peak_bytes_to_score
        if value is None or value.mean <= 0:
            continue
        text = f"<b>{plain(row.criterion)}</b><br>{scale * value.mean:.3g} {unit}, mean over {value.count} run(s)"
        name, amount = plain(row.criterion), scale * value.mean
        key = [row_key(board, row)]
        traces.append(_marks(row, looks, keys=key, x=[amount], y=[name], hovertext=[text], showlegend=False))
    if not traces:
        return None
    layout = bare_layout(stacked_height(len(traces)))
    layout["xaxis"].update(type="log", dtick=1, minor={"ticks": "outside"})
    layout["xaxis"]["title"]["text"] = f"{'time' if is_time else 'peak memory'} to score ({unit}), logarithmic"
    return figure(traces, layout, title="Time to score" if is_time else "Peak memory to score")


def _curves(board: Leaderboard, looks: Looks, kind: str) -> Figure | None:
    """Test accuracy or training loss by epoch, mean over seeds."""
    traces = []
    for row in board.rows:
        if not row.curve:
            continue
        by_epoch = list(zip(*(run.epochs for run in row.runs), strict=True))
        if kind == "accuracy":
            means = [100 * value.mean for value in row.curve]
            texts = [f"{points(value)} %" for value in row.curve]
        else:
            means = [estimate([epoch.train_loss for epoch in epochs]).mean for epochs in by_epoch]
            texts = [f"loss {mean:.4f}" for mean in means]
        name = plain(row.criterion)
        traces.append(
            _marks(
                row,
                looks,
                keys=[row_key(board, row)],
                x=list(range(1, len(means) + 1)),
                y=means,
                hovertext=[f"<b>{name}</b><br>epoch {place}: {text}" for place, text in enumerate(texts, 1)],
                mode="lines+markers" if len(means) <= 20 else "lines",
                marker=looks.marker(row, size=6),
                line={"color": looks.colour(row), "width": 1.5},
            )
        )
    if not traces:
        return None
    layout = bare_layout(max(340, 130 + _LEGEND_LINE * len(traces)))
    layout["xaxis"].update(tickformat="d", nticks=10)
    layout["xaxis"]["title"]["text"] = "epoch of fine-tuning"
    layout["yaxis"]["title"]["text"] = "test accuracy (%)" if kind == "accuracy" else "training loss"
    name = "test accuracy" if kind == "accuracy" else "training loss"
    return figure(traces, layout, title=f"Fine-tuning: {name}", note="Mean over seeds.")


def widths(board: Leaderboard) -> Figure | None:
    """The share of each layer's channels that stays, for all entries."""
    layers = [layer for layer in board.base_widths if any(_share(board, row, layer) != 1 for row in board.rows)]
    if not layers:
        return None
    rows = list(reversed(board.rows))
    shares = [[_share(board, row, layer) for layer in layers] for row in rows]
    told = [[_kept(board, row, layer) for layer in layers] for row in rows]
    heat = go.Heatmap(
        z=shares,
        # By place, as two entries may share a name.
        y=list(range(len(rows))),
        x=list(range(len(layers))),
        text=told,
        hoverinfo="text",
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "kept"}, "tickformat": ".0%", "thickness": 12},
    )
    layout = bare_layout(stacked_height(len(rows)) + 70)
    layout["xaxis"].update(layer_ticks(layers))
    layout["yaxis"].update(ticks([row.criterion for row in rows]))
    note = f"{len(layers)} layers that lost channels in some entry, from input to output; mean over seeds."
    return figure([heat], layout, title="Channels kept in each layer", note=note, is_wide=True)


def _marks(row: Row, looks: Looks, *, keys: list[str], **more: Any) -> Any:
    chosen = {"mode": "markers", "marker": looks.marker(row), "hoverinfo": "text", **more}
    return go.Scatter(name=plain(row.criterion), meta={"rows": keys}, **chosen)


def _error(values: Sequence[Estimate | None]) -> dict[str, Any]:
    margins = [100 * (value.margin or 0) for value in values if value]
    return {"type": "data", "array": margins, "thickness": 1, "width": 3, "visible": any(margins)}


def _told(board: Leaderboard, row: Row, stage: str | None = None) -> str:
    """What hovering says of a row: all its stages, or one."""
    stages = [(name, value(row)) for name, value in _STAGES.items() if stage in (None, name)]
    seeds = f"{len(row.seeds)} seed{'s' if len(row.seeds) > 1 else ''}"
    lines = [
        f"<b>{plain(row.criterion)}</b>",
        *(f"{name}: {points(value)} %" for name, value in stages if value),
        f"{counted(row.flops.mean)} FLOPs ({percent_change(row.flops_reduction.mean)})",
        f"{counted(row.params.mean)} parameters ({percent_change(row.params_reduction.mean)})",
        f"{seeds}; {plain(str(board.setup.conditions.target))}",
    ]
    return "<br>".join(lines)


def _side_step(boards: Sequence[Leaderboard]) -> float:
    """How far apart to set entries that end at one target: all together well inside the gap to the next target."""
    base, most = boards[0].rows[0].base_flops, max(len(board.rows) for board in boards)
    if boards[0].setup.conditions.target.is_free or most < 2:
        return 0.0
    ends = sorted(sum(row.flops.mean for row in board.rows) / len(board.rows) for board in boards)
    gap = min((b - a for a, b in zip(ends, ends[1:], strict=False)), default=base)
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


def _share(board: Leaderboard, row: Row, layer: str) -> float | None:
    before, after = board.base_widths[layer], row.widths.get(layer)
    return None if after is None or not before else after / before


def _kept(board: Leaderboard, row: Row, layer: str) -> str:
    after = row.widths.get(layer)
    known = "not known" if after is None else f"{after:.4g} of {board.base_widths[layer]} channels"
    return f"<b>{plain(row.criterion)}</b><br>{plain(layer)}<br>{known}"
