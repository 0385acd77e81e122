"""Accuracy by epoch of fine-tuning."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from .board import Leaderboard
from .looks import GREY, heading, legend_below, looks, new_figure, png, spelled

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
            color=look[row.criterion].colour,
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
