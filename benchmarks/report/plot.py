"""Accuracy over FLOPs, drawn without a display."""

from __future__ import annotations

import io
import math

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .board import Leaderboard
from .estimates import Estimate

__all__ = ["accuracy_over_flops"]

# Okabe and Ito's colours, which stay apart for colour-blind readers; the markers do so in print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
_LEGEND_COLUMNS = 6


def accuracy_over_flops(board: Leaderboard) -> bytes:
    """A PNG with a panel for each stage that was measured, from one-shot to fine-tuned, each with the base model.

    Panels, because one-shot accuracies can lie tens of points apart and fine-tuned ones less than one.
    Entries that end at the same FLOPs would hide each other; they are set side by side, and the panel says
    so. Entries that differ in nothing but compensation share colour and marker, which is hollow without it.
    """
    panels = _panels(board)
    # Room for the lines of a long legend, which would otherwise be the panels'.
    more_lines = max(0, math.ceil((len(board.rows) + 1) / _LEGEND_COLUMNS) - 2)
    figure = Figure(figsize=(5 * len(panels), 4.6 + 0.4 * more_lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, (title, values) in zip(axes, panels.items(), strict=True):
        _panel(place, board, title, values)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), _LEGEND_COLUMNS), frameon=False)
    conditions = board.setup.conditions
    figure.suptitle(f"{board.setup.suite}: {conditions.model.name} on {conditions.dataset.name}")
    buffer = io.BytesIO()
    # Without matplotlib's version in it, which would change the file when nothing else has.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _panels(board: Leaderboard) -> dict[str, list[Estimate | None]]:
    panels: dict[str, list[Estimate | None]] = {"one-shot (no fine-tuning)": [row.one_shot for row in board.rows]}
    moved = any(row.one_shot_bn for row in board.rows)
    if moved:
        panels["one-shot, BN statistics moved"] = [row.one_shot_bn for row in board.rows]
    if not moved or board.setup.conditions.finetune_recipe.epochs:
        panels["fine-tuned"] = [row.fine_tuned for row in board.rows]
    return panels


def _looks(board: Leaderboard) -> dict[str, tuple[str, str, bool]]:
    """Colour, marker and whether it is filled, by title.

    By name and not by place, so that a criterion looks the same in every plot of the same criteria.
    """
    rows = sorted(board.rows, key=lambda row: row.criterion)
    number = {method: place for place, method in enumerate(dict.fromkeys(row.method for row in rows))}
    hollow = any(row.compensate for row in rows)
    return {
        row.criterion: (
            _COLOURS[number[row.method] % len(_COLOURS)],
            _MARKERS[number[row.method] % len(_MARKERS)],
            row.compensate is not None or not hollow,
        )
        for row in rows
    }


def _panel(axes: Axes, board: Leaderboard, title: str, values: list[Estimate | None]) -> None:
    base = board.rows[0].base
    base_flops = board.rows[0].base_flops
    # All together no wider than reads as one place.
    step = min(0.018, 0.16 / len(board.rows)) * base_flops
    middle = (len(board.rows) - 1) / 2
    looks = _looks(board)
    for place, (row, value) in enumerate(zip(board.rows, values, strict=True)):
        colour, marker, filled = looks[row.criterion]
        # An empty series where there is no value keeps the criterion in the legend.
        x = [(row.flops.mean + (place - middle) * step) / 1e6] if value else []
        axes.errorbar(
            x,
            [100 * value.mean] if value else [],
            yerr=[100 * (value.margin or 0)] if value else [],
            fmt=marker,
            color=colour,
            markerfacecolor=colour if filled else "white",
            capsize=3,
            linestyle="none",
            label=row.criterion,
        )
    axes.errorbar(
        [base_flops / 1e6],
        [100 * base.mean],
        yerr=[100 * (base.margin or 0)],
        fmt="*",
        markersize=12,
        color="#555555",
        capsize=3,
        label="base model",
    )
    axes.axhline(100 * base.mean, color="#555555", linewidth=0.8, linestyle=":")
    axes.set_title(title)
    axes.set_xlim(0, 1.08 * base_flops / 1e6)
    axes.set_xlabel("MFLOPs of one image (fvcore: multiply-adds)\npoints at equal FLOPs are set side by side")
    axes.set_ylabel(f"test accuracy (%), mean ± s.d. over {len(board.seeds)} seeds")
    axes.grid(alpha=0.3)
