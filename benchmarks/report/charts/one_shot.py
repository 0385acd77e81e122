"""One-shot accuracy against fine-tuned."""

from __future__ import annotations

from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard
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
    png,
    row_key,
    told,
)

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


def _stages(board: Leaderboard, looks: Looks) -> PageFigure | None:
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
