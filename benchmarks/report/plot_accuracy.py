"""Accuracy over FLOPs."""

from __future__ import annotations

from matplotlib.axes import Axes

from .board import Leaderboard
from .estimates import Estimate
from .looks import GREY, bars, heading, legend_below, looks, new_figure, percent_limits, png

__all__ = ["accuracy_over_flops"]


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
