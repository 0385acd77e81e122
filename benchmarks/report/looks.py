"""How all plots look: colours, markers, legends, PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .board import Leaderboard, Row
from .estimates import Estimate

__all__ = [
    "GREY",
    "SHADES",
    "Look",
    "bars",
    "heading",
    "legend_below",
    "looks",
    "new_figure",
    "percent_limits",
    "png",
    "series_look",
    "spelled",
]

# Okabe and Ito's colours, which stay apart for colour-blind readers; the markers do so in print. The two
# numbers have no common divisor, so that 77 series differ.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX<>ph"
_LINES = ("-", "--", "-.", ":")
_LEGEND_COLUMNS = 6

GREY = "#555555"
SHADES = "cividis"
"""A colour map that is ordered in lightness, for colour-blind readers and in print."""


@dataclass(frozen=True)
class Look:
    """Of a series: colour, marker, the colour inside the marker, and the style of a line."""

    colour: str
    marker: str
    inside: str
    line: str


def series_look(number: int, *, filled: bool = True) -> Look:
    """The look of series ``number``, counted from 0."""
    colour = _COLOURS[number % len(_COLOURS)]
    return Look(
        colour,
        _MARKERS[number % len(_MARKERS)],
        colour if filled else "white",
        _LINES[number // len(_COLOURS) % len(_LINES)],
    )


def looks(board: Leaderboard) -> dict[str, Look]:
    """Looks by title, by name and not by place: a criterion looks the same in every plot of the same criteria.

    Entries that differ in nothing but compensation share colour and marker, which is hollow without it.
    """
    rows = sorted(board.rows, key=lambda row: row.criterion)
    number = {method: place for place, method in enumerate(dict.fromkeys(row.method for row in rows))}
    hollow = any(row.compensate for row in rows)
    return {
        row.criterion: series_look(number[row.method], filled=row.compensate is not None or not hollow) for row in rows
    }


def bars(axes: Axes, look: Look, row: Row, x: Sequence[Estimate | float | None], y: Sequence[Estimate | None]) -> None:
    """Points in percent with their intervals; a missing value leaves an empty series for the legend."""
    there = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    across = [a for a, _ in there if isinstance(a, Estimate)]
    axes.errorbar(
        [100 * a.mean if isinstance(a, Estimate) else a for a, _ in there],
        [100 * b.mean for _, b in there],
        xerr=[100 * (a.margin or 0) for a in across] if across else None,
        yerr=[100 * (b.margin or 0) for _, b in there],
        fmt=look.marker,
        color=look.colour,
        markerfacecolor=look.inside,
        capsize=3,
        linestyle="none",
        label=spelled(row.title),
    )


def percent_limits(values: Iterable[Estimate | None]) -> tuple[float, float]:
    """Limits of an axis in percent: intervals show, but those of two seeds do not push the means together.

    Beyond the means there is room for once their range, and a point at least; no accuracy lies outside 0 to 100 %.
    """
    there = [value for value in values if value is not None]
    if not there:
        return 0, 100
    means = [100 * value.mean for value in there]
    span = max(max(means) - min(means), 1.0)
    ends = [100 * (value.mean + sign * (value.margin or 0)) for value in there for sign in (-1, 1)]
    low, high = max(0, min(means) - span, min(ends) - span / 10), min(100, max(means) + span, max(ends) + span / 10)
    # The markers at the ends in full.
    return low - span / 20, high + span / 20


def heading(board: Leaderboard) -> str:
    """What a plot shows, in two lines."""
    conditions = board.setup.conditions
    return spelled(f"{board.title}\n{conditions.model.name} on {conditions.dataset.name}")


def spelled(text: str) -> str:
    """Text of others for a plot: no mathematics between dollars, and no name that legends leave out."""
    return (f" {text}" if text.startswith("_") else text).replace("$", r"\$")


def new_figure(width: float, height: float, *, entries: int = 0) -> Figure:
    """A figure without a display, in inches, with more height for the lines of a long legend below."""
    more_lines = max(0, math.ceil(entries / _LEGEND_COLUMNS) - 2)
    figure = Figure(figsize=(width, height + 0.4 * more_lines), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def legend_below(figure: Figure, axes: Axes, columns: int = _LEGEND_COLUMNS) -> None:
    """One legend for all panels, from what the first holds."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), columns), frameon=False)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    # Without matplotlib's version in it, which would change the file when nothing else has.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
