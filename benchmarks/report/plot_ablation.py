"""Widths and accuracy over the rule's parameters."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes

from .board import Leaderboard, Row
from .estimates import Estimate
from .looks import GREY, heading, legend_below, new_figure, percent_limits, png, series_look

__all__ = ["ablation_lines"]


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
        color=look.colour,
        marker=look.marker,
        capsize=3,
        label=label,
    )


def _parameters(row: Row) -> tuple[int, float]:
    return (row.rule.neighbors, row.rule.threshold) if row.rule else (0, 0.0)
