"""Accuracy by epoch of fine-tuning."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from ..data.estimates import estimate
from ..data.leaderboard import Leaderboard
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
    points,
    row_key,
    spelled,
)

__all__ = ["curves"]

_MARKED_EPOCHS = 20


def curves(board: Leaderboard) -> bytes:
    """A PNG of mean test accuracy after each epoch, a line an entry, over the seeds it has."""
    figure = new_figure(10, 5.2, entries=len(board.rows) + 1)
    axes = figure.subplots()
    look = looks(board)
    for row in board.rows:
        axes.plot(
            range(1, len(row.curve) + 1),
            [100 * epoch.mean for epoch in row.curve],
            color=look[row.criterion].color,
            marker=look[row.criterion].marker if len(row.curve) <= _MARKED_EPOCHS else None,
            markerfacecolor=look[row.criterion].inside,
            linestyle=look[row.criterion].line,
            label=spelled(row.title),
        )
    axes.axhline(100 * board.rows[0].base.mean, color=GREY, linewidth=0.8, linestyle=":", label="base model")
    axes.set_xlabel("epoch of fine-tuning")
    axes.set_ylabel(f"test accuracy (%)\nmean over {board.seed_count}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    legend_below(figure, axes)
    figure.suptitle(heading(board))
    return png(figure)


def _curves(board: Leaderboard, looks: Looks, kind: str) -> PageFigure | None:
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
                line={"color": looks.color(row), "width": 1.5},
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
