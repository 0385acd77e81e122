"""Charts for Markdown, drawn by Matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from .series import Series

GREY = "#555555"
_LEGEND_COLUMNS = 6


def new_figure(width: float, height: float, *, names: int = 0) -> Figure:
    """A figure without a display, in inches, with more height for a legend of more than two lines."""
    more_lines = max(0, math.ceil(names / _LEGEND_COLUMNS) - 2)
    figure = Figure(figsize=(width, height + 0.4 * more_lines), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_series(axes: Axes, series: Series, *, linestyle: str = "none") -> None:
    """Points with their intervals; a series without a point still has its name in the legend."""
    axes.errorbar(
        series.x,
        series.y,
        xerr=series.x_margin if any(series.x_margin) else None,
        yerr=series.y_margin if any(series.y_margin) else None,
        color=series.style.color,
        marker=series.style.marker,
        markerfacecolor="white" if series.style.is_hollow else series.style.color,
        linestyle=linestyle,
        linewidth=1,
        elinewidth=1,
        ecolor=to_rgba(series.style.color, 0.5),
        # All markers above all intervals, which would hide them where points have the same x.
        zorder=3,
        barsabove=False,
        label=escape_mathtext(series.name),
    )


def legend_below(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, from what the first contains."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), _LEGEND_COLUMNS), frameon=False)


def name_points(axes: Axes, points: Sequence[tuple[str, float, float, str]], *, gap: float) -> None:
    """Names to the right of the axes, each with a line to its point, so that points at one place can be told apart.

    Args:
        axes: whose limits are set.
        points: name, x, y and color.
        gap: the height of a name, as a share of that of the axes.
    """
    low, high = axes.get_ylim()
    heights = spread_out([(y - low) / (high - low) for *_, y, _ in points], gap=gap)
    for (name, x, y, color), height in zip(points, heights, strict=True):
        axes.annotate(
            escape_mathtext(name),
            xy=(x, y),
            xytext=(1.03, height),
            textcoords="axes fraction",
            color=color,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "relpos": (0, 0.5)},
        )


def spread_out(values: Sequence[float], *, gap: float) -> list[float]:
    """Values in [0, 1] moved apart by at least ``gap``, in their order, and as little as needed."""
    order = sorted(range(len(values)), key=values.__getitem__)
    up, down = list(values), list(values)
    for below, above in pairwise(order):
        up[above] = max(up[above], up[below] + gap)
    for above, below in pairwise(reversed(order)):
        down[below] = min(down[below], down[above] - gap)
    middle = [(a + b) / 2 for a, b in zip(up, down, strict=True)]
    for rank, place in enumerate(order):
        middle[place] = min(max(middle[place], rank * gap), 1 - (len(order) - 1 - rank) * gap)
    return middle


def escape_mathtext(text: str) -> str:
    """A user's text for Matplotlib: dollars start no formula, and a leading underscore hides no legend entry."""
    return (f" {text}" if text.startswith("_") else text).replace("$", r"\$")


def encode_png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    # Without Matplotlib's version in it, which would change the file when nothing else has.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
