"""Accuracy over FLOPs, drawn without a display."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .summary import Leaderboard, Spread

__all__ = ["accuracy_over_flops"]

# Okabe and Ito's colours, which stay apart for colour-blind readers; the markers do so in print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"


def accuracy_over_flops(board: Leaderboard) -> bytes:
    """A PNG with two panels, one-shot on the left and fine-tuned on the right, each with the base model.

    Panels, because one-shot accuracies can lie tens of points apart and fine-tuned ones less than one.
    Criteria that end at the same FLOPs would hide each other; they are set side by side, and the panel says
    so.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _panel(left, board, "one-shot (no fine-tuning)", [row.one_shot for row in board.rows])
    _panel(right, board, "fine-tuned", [row.fine_tuned for row in board.rows])
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False)
    conditions = board.setup.conditions
    figure.suptitle(f"{board.setup.suite}: {conditions.model.name} on {conditions.dataset.name}")
    buffer = io.BytesIO()
    # Without matplotlib's version in it, which would change the file when nothing else has.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: Axes, board: Leaderboard, title: str, values: list[Spread | None]) -> None:
    base = board.rows[0].base
    base_flops = board.rows[0].base_flops
    step = 0.018 * base_flops
    middle = (len(board.rows) - 1) / 2
    # By name and not by place, so that a criterion looks the same in every plot of the same criteria.
    looks = {title: number for number, title in enumerate(sorted(row.criterion for row in board.rows))}
    for place, (row, value) in enumerate(zip(board.rows, values, strict=True)):
        look = looks[row.criterion]
        # An empty series where there is no value keeps the criterion in the legend.
        x = [(row.flops + (place - middle) * step) / 1e6] if value else []
        axes.errorbar(
            x,
            [100 * value.mean] if value else [],
            yerr=[100 * (value.deviation or 0)] if value else [],
            fmt=_MARKERS[look % len(_MARKERS)],
            color=_COLOURS[look % len(_COLOURS)],
            capsize=3,
            linestyle="none",
            label=row.criterion,
        )
    axes.errorbar(
        [base_flops / 1e6],
        [100 * base.mean],
        yerr=[100 * (base.deviation or 0)],
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
