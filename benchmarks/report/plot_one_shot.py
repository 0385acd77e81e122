"""One-shot accuracy against fine-tuned."""

from __future__ import annotations

from .board import Leaderboard
from .estimates import Estimate
from .looks import GREY, bars, heading, legend_below, looks, new_figure, percent_limits, png

__all__ = ["one_shot_against_fine_tuned"]


def one_shot_against_fine_tuned(board: Leaderboard) -> bytes:
    """A PNG that shows whether what is better right after pruning is better after fine-tuning too.

    A panel for one-shot accuracy and, where it was measured, one for that with BN statistics moved, fine-tuned
    accuracy upwards.
    """
    stages: dict[str, list[Estimate | None]] = {"one-shot": [row.one_shot for row in board.rows]}
    if any(row.one_shot_bn for row in board.rows):
        stages["one-shot, BN statistics moved"] = [row.one_shot_bn for row in board.rows]
    figure = new_figure(5 * max(len(stages), 2), 4.8, entries=len(board.rows) + 1)
    axes = figure.subplots(1, len(stages), squeeze=False, sharey=True)[0]
    look, base = looks(board), board.rows[0].base
    for place, (title, values) in zip(axes, stages.items(), strict=True):
        for row, value in zip(board.rows, values, strict=True):
            bars(place, look[row.criterion], row, [value], [row.fine_tuned])
        place.axhline(100 * base.mean, color=GREY, linewidth=0.8, linestyle=":", label="base model")
        place.set_xlim(*percent_limits(values))
        place.set_xlabel(f"{title} accuracy (%)")
        place.grid(alpha=0.3)
    axes[0].set_ylim(*percent_limits([*(row.fine_tuned for row in board.rows), base]))
    axes[0].set_ylabel(f"fine-tuned accuracy (%){board.spread}")
    legend_below(figure, axes[0])
    figure.suptitle(heading(board))
    return png(figure)
