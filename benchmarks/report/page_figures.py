"""Plots of one table: stages, cost, training and widths."""

from __future__ import annotations

from .board import Leaderboard
from .estimates import estimate
from .looks import percent_limits
from .page_looks import Figure, Looks, bare_layout, figure, plain, points, row_key, stacked_height, ticks
from .page_marks import LEGEND_LINE, STAGES, error_bars, marks, told
from .page_roc import roc_figure
from .page_widths import widths

__all__ = ["board_figures"]


def board_figures(board: Leaderboard, looks: Looks) -> list[Figure]:
    """The plots that stand below a table."""
    found = [
        roc_figure(board, looks),
        _stages(board, looks),
        _cost(board, looks, "time"),
        _cost(board, looks, "memory"),
    ]
    found += [_curves(board, looks, "accuracy"), _curves(board, looks, "loss")]
    # Equal widths make a map of one colour.
    found += [widths(board)] if board.widths_differ else []
    return [each for each in found if each is not None]


def _stages(board: Leaderboard, looks: Looks) -> Figure | None:
    """The last stage over the first: whether what looks good before training is good after it."""
    later = [name for name, value in STAGES.items() if any(value(row) for row in board.rows)]
    if len(later) < 2:
        return None
    first, last = (STAGES["one-shot"], STAGES[later[-1]])
    traces = [
        marks(
            row,
            looks,
            keys=[row_key(board, row)],
            x=[100 * row.one_shot.mean],
            y=[100 * end.mean],
            error_x=error_bars([first(row)]),
            error_y=error_bars([end]),
            hovertext=[told(board, row)],
        )
        for row in sorted(board.rows, key=lambda row: row.criterion)
        if (end := last(row))
    ]
    layout = bare_layout(max(380, 150 + LEGEND_LINE * len(traces)))
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
    values = [(row, row.seconds_to_score if is_time else row.peak_bytes_to_score) for row in reversed(board.rows)]
    # A logarithmic axis has no place for zero.
    known = [(row, scale * value.mean, value.count) for row, value in values if value and value.mean > 0]
    if not known:
        return None
    traces = [
        marks(
            row,
            looks,
            keys=[row_key(board, row)],
            x=[amount],
            y=[place],
            hovertext=[f"<b>{plain(row.criterion)}</b><br>{amount:.3g} {unit}, mean over {count} run(s)"],
            showlegend=False,
        )
        for place, (row, amount, count) in enumerate(known)
    ]
    layout = bare_layout(stacked_height(len(traces)))
    layout["yaxis"].update(ticks([row.criterion for row, _, _ in known]), showgrid=True)
    layout["xaxis"].update(type="log", dtick=1, minor={"ticks": "outside"})
    layout["xaxis"]["title"]["text"] = f"{'time' if is_time else 'peak memory'} to score ({unit}), logarithmic"
    shown = {id(row) for row, _, _ in known}
    absent = [row.criterion for row in board.rows if id(row) not in shown]
    note = f"Nothing measured, or nothing to speak of: {', '.join(absent)}." if absent else ""
    return figure(traces, layout, title="Time to score" if is_time else "Peak memory to score", note=note)


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
            marks(
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
    layout = bare_layout(max(340, 130 + LEGEND_LINE * len(traces)))
    layout["xaxis"]["dtick"] = max(1, max(len(trace.x) for trace in traces) // 10)
    layout["xaxis"]["title"]["text"] = "epoch of fine-tuning"
    layout["yaxis"]["title"]["text"] = "test accuracy (%)" if kind == "accuracy" else "training loss"
    name = "test accuracy" if kind == "accuracy" else "training loss"
    return figure(traces, layout, title=f"Fine-tuning: {name}", note="Mean over seeds.")
