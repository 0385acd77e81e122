"""How all plots look: colors, markers, legends, PNG."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard, Row
from ..formatting import counted, percent, percent_change

__all__ = [
    "GREY",
    "LEGEND_LINE",
    "SHADES",
    "STAGES",
    "Look",
    "Looks",
    "PageFigure",
    "bare_layout",
    "bars",
    "brief",
    "error_bars",
    "figure",
    "heading",
    "layer_ticks",
    "legend_below",
    "looks",
    "marks",
    "new_figure",
    "numbered_marker",
    "percent_limits",
    "plain",
    "png",
    "points",
    "row_key",
    "series_look",
    "spelled",
    "stacked_height",
    "ticks",
    "told",
]

# Okabe and Ito's colors, which stay apart for color-blind readers; the markers do so in print. The two
# numbers have no common divisor, so that 77 series differ.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX<>ph"
_LINES = ("-", "--", "-.", ":")
_LEGEND_COLUMNS = 6

GREY = "#555555"
SHADES = "cividis"
"""A color map that is ordered in lightness, for color-blind readers and in print."""


@dataclass(frozen=True)
class Look:
    """Of a series: color, marker, the color inside the marker, and the style of a line."""

    color: str
    marker: str
    inside: str
    line: str


def series_look(number: int, *, filled: bool = True) -> Look:
    """The look of series ``number``, counted from 0."""
    color = _COLOURS[number % len(_COLOURS)]
    return Look(
        color,
        _MARKERS[number % len(_MARKERS)],
        color if filled else "white",
        _LINES[number // len(_COLOURS) % len(_LINES)],
    )


def looks(board: Leaderboard) -> dict[str, Look]:
    """Looks by title, by name and not by place: a criterion looks the same in every plot of the same criteria.

    Entries that differ in nothing but compensation share color and marker, which is hollow without it.
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
        color=look.color,
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


PageFigure = dict[str, Any]
"""A Plotly figure as JSON. Colors are names of the page's CSS variables, which its script fills in."""

_COLOURS = 8
_MOST_NAMES = 60
_LONGEST_NAME = 28
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star-triangle-down")


class Looks:
    """Colors and markers by name, so that a criterion looks the same in every plot of the same criteria.

    Args:
        boards: whose criteria appear together.
    """

    def __init__(self, boards: Iterable[Leaderboard]) -> None:
        rows = sorted((row for board in boards for row in board.rows), key=lambda row: row.criterion)
        self._number = {method: place for place, method in enumerate(dict.fromkeys(row.method for row in rows))}
        self._hollow = any(row.compensate for row in rows)

    def marker(self, row: Row, size: int = 9) -> dict[str, Any]:
        """A marker that is hollow where its like with compensation is filled."""
        hollow = self._hollow and row.compensate is None
        return numbered_marker(self._number[row.method], size=size, is_hollow=hollow)

    def color(self, row: Row) -> str:
        """The color of its lines and markers."""
        return str(self.marker(row)["color"])


def numbered_marker(number: int, *, size: int = 9, is_hollow: bool = False) -> dict[str, Any]:
    """The marker of series ``number``, counted from 0."""
    symbol = _SYMBOLS[number % len(_SYMBOLS)]
    return {
        "symbol": f"{symbol}-open" if is_hollow else symbol,
        "size": size,
        "color": f"var(--c{number % _COLOURS})",
    }


def row_key(board: Leaderboard, row: Row) -> str:
    """What the page's filters call a row."""
    return f"{board.setup.key[:12]}-{board.rows.index(row)}"


def plain(text: str) -> str:
    """Text for a plot, which would take it for markup."""
    # Plotly knows no entity for quotes, and needs none.
    return html.escape(text, quote=False)


def brief(text: str) -> str:
    """A name for a legend or an axis, which it must not crowd out; hovering tells it in full."""
    return plain(text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}")


def points(value: Estimate, *, signed: bool = False) -> str:
    """A fraction in percent with its interval, as plots and tables write it."""
    return percent(value, signed=signed).replace("-", "\N{MINUS SIGN}")


def ticks(names: Sequence[str]) -> dict[str, Any]:
    """An axis of names, by place, as names can be equal."""
    places = list(range(len(names)))
    return {"tickmode": "array", "tickvals": places, "ticktext": [brief(name) for name in names], "showgrid": False}


def layer_ticks(layers: Sequence[str]) -> dict[str, Any]:
    """An axis of layers with as many names as can be read; the others show on hovering."""
    found, step = ticks(short_names(layers)), 1 + len(layers) // _MOST_NAMES
    thinned = {name: found[name][::step] for name in ("tickvals", "ticktext")}
    return {**found, **thinned, "tickangle": -60}


def stacked_height(lines: int) -> int:
    """Pixels for a plot with a line of its own for each criterion."""
    return 130 + 24 * lines


def bare_layout(height: int, **more: Any) -> dict[str, Any]:
    """A layout without a color or font of its own."""
    axis = {
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zerolinecolor": "var(--line)",
        "automargin": True,
        "title": {"standoff": 8},
    }
    layout = go.Layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "var(--text)", "family": "system-ui, sans-serif", "size": 12},
        hoverlabel={
            "bgcolor": "var(--card)",
            "bordercolor": "var(--soft)",
            "font": {"color": "var(--text)"},
            "align": "left",
            "namelength": -1,
        },
        hovermode="closest",
        xaxis=axis,
        yaxis=axis,
        **more,
    )
    return layout.to_plotly_json()


def figure(
    traces: Iterable[Any],
    layout: dict[str, Any],
    *,
    title: str,
    note: str = "",
    alt: str = "",
    is_wide: bool = False,
) -> PageFigure:
    """A figure as the template takes it.

    Args:
        traces: of :mod:`plotly.graph_objects`, which has checked them.
        layout: from :func:`bare_layout`.
        title: heading of the plot.
        note: what a reader must know, below it.
        alt: what it shows, for those who do not see it.
        is_wide: whether it takes the page's whole width.
    """
    data = [trace.to_plotly_json() for trace in traces]
    words = {"title": title, "note": note, "alt": alt or title, "is_wide": is_wide}
    return {**words, "plot": {"data": data, "layout": layout}}


LEGEND_LINE = 20
"""Pixels of a line of a legend."""

STAGES: dict[str, Callable[[Row], Estimate | None]] = {
    "one-shot": lambda row: row.one_shot,
    "BN moved": lambda row: row.one_shot_bn,
    "fine-tuned": lambda row: row.fine_tuned,
}
"""Accuracies in the order in which they come about, and how to read them off a row."""


def marks(row: Row, looks: Looks, *, keys: list[str], **more: Any) -> Any:
    """A series of one row, or of the rows of one entry, that the page's filters know by their keys."""
    chosen = {"mode": "markers", "marker": looks.marker(row), "hoverinfo": "text", **more}
    return go.Scatter(name=brief(row.criterion), meta={"rows": keys}, **chosen)


def error_bars(values: Sequence[Estimate | None]) -> dict[str, Any]:
    """Intervals in points."""
    margins = [100 * (value.margin or 0) for value in values if value]
    return {"type": "data", "array": margins, "thickness": 1, "width": 3, "visible": any(margins)}


def told(board: Leaderboard, row: Row, stage: str | None = None) -> str:
    """What hovering says of a row: all its stages, or one."""
    stages = [(name, value(row)) for name, value in STAGES.items() if stage in (None, name)]
    seeds = f"{len(row.seeds)} seed{'s' if len(row.seeds) > 1 else ''}"
    lines = [
        f"<b>{plain(row.criterion)}</b>",
        *(f"{name}: {points(value)} %" for name, value in stages if value),
        f"{counted(row.flops.mean)} FLOPs ({percent_change(row.flops_reduction.mean)})",
        f"{counted(row.params.mean)} parameters ({percent_change(row.params_reduction.mean)})",
        f"{seeds}; {plain(str(board.setup.conditions.target))}",
    ]
    return "<br>".join(lines)


def ink(value: float) -> str:
    """Color of text on a field of a map whose dark end is 0."""
    return "black" if value > 0.55 else "white"


def short_names(layers: Sequence[str]) -> list[str]:
    """Without what all begin and end with, from dot to dot."""
    if len(layers) < 2:
        return list(layers)
    parts = [layer.split(".") for layer in layers]
    same = 0
    while all(len(part) > same + 1 for part in parts) and len({part[same] for part in parts}) == 1:
        same += 1
    parts = [part[same:] for part in parts]
    same = 0
    while all(len(part) > same + 1 for part in parts) and len({part[-1 - same] for part in parts}) == 1:
        same += 1
    return [".".join(part[: len(part) - same]) for part in parts]
