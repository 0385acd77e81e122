"""How the page's plots look: one colour and marker for each criterion, and a layout that follows the page's theme."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from .board import Leaderboard, Row
from .cells import percent
from .estimates import Estimate
from .plot_widths import short_names

__all__ = [
    "Figure",
    "Looks",
    "bare_layout",
    "brief",
    "figure",
    "layer_ticks",
    "numbered_marker",
    "plain",
    "points",
    "row_key",
    "stacked_height",
    "ticks",
]

Figure = dict[str, Any]
"""A Plotly figure as JSON. Colours are names of the page's CSS variables, which its script fills in."""

_COLOURS = 8
_MOST_NAMES = 60
_LONGEST_NAME = 28
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star-triangle-down")


class Looks:
    """Colours and markers by name, so that a criterion looks the same in every plot of the same criteria.

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

    def colour(self, row: Row) -> str:
        """The colour of its lines and markers."""
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
    """A layout without a colour or font of its own."""
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
) -> Figure:
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
