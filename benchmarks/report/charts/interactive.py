"""Charts for the page, drawn by Plotly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import plotly.graph_objects as go

from ..formatting import escape_html, shorten
from .series import Grid, Series, short_names

PageFigure: TypeAlias = dict[str, Any]
"""A Plotly figure as JSON with its words. Colors are names of the page's CSS variables, which its script fills in."""

INTERVALS = "Bars are 95 % intervals over seeds."
_LONGEST_NAME = 28


def scatter(series: Series, *, mode: str = "markers", size: int = 9, **more: Any) -> Any:
    """A trace of a series, which the page's filters hide with its rows."""
    return go.Scatter(
        **{
            "name": _label(series.name),
            "meta": {"rows": list(series.rows)} if series.rows else None,
            "mode": mode,
            "marker": {"symbol": series.style.symbol, "size": size, "color": series.style.css_color},
            "line": {"color": series.style.css_color, "width": 1.5},
            "x": list(series.x),
            "y": list(series.y),
            "error_x": _error_bars(series.x_margin),
            "error_y": _error_bars(series.y_margin),
            "hoverinfo": "text",
            "hovertext": list(series.hover),
            **more,
        }
    )


def _error_bars(margins: Sequence[float]) -> dict[str, Any] | None:
    return {"type": "data", "array": list(margins), "thickness": 1, "width": 3} if any(margins) else None


def heatmap(grid: Grid, *, text: str | None = None, **more: Any) -> Any:
    """A trace of a grid.

    Args:
        grid: its first row is drawn at the bottom, unless the axis is reversed.
        text: format of the values that are written into the fields; None for none.
        more: for Plotly.
    """
    written = [["" if value is None else f"{value:{text}}" for value in line] for line in grid.values] if text else None
    return go.Heatmap(
        **{
            "z": [list(line) for line in grid.values],
            # By position, because names can be equal.
            "x": list(range(len(grid.columns))),
            "y": list(range(len(grid.rows))),
            "text": written,
            "texttemplate": "%{text}" if text else None,
            "hoverinfo": "text",
            "hovertext": [list(line) for line in grid.hover],
            "hoverongaps": False,
            "colorscale": "Cividis",
            "xgap": 1,
            "ygap": 1,
            "colorbar": {"thickness": 12},
            **more,
        }
    )


def chart_layout(height: float, *, x: str = "", y: str = "", **more: Any) -> dict[str, Any]:
    """A layout with two named axes, and without a color or font of its own."""
    axis = {
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zerolinecolor": "var(--line)",
        "automargin": True,
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
        xaxis={**axis, "title": {"text": x, "standoff": 8}},
        yaxis={**axis, "title": {"text": y, "standoff": 8}},
        **more,
    )
    return layout.to_plotly_json()


def height_for(names: int, *, least: int = 380) -> int:
    """Pixels of a chart whose legend, or whose vertical axis, has this many names."""
    return max(least, 150 + 22 * names)


def name_axis(names: Sequence[str]) -> dict[str, Any]:
    """An axis of names, by position, because names can be equal."""
    labels = [_label(name) for name in names]
    return {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": labels, "showgrid": False}


def layer_axis(layers: Sequence[str]) -> dict[str, Any]:
    """An axis of layers, of which the page shows as many names as fit; hovering shows the others."""
    return {**name_axis(short_names(layers)), "tickangle": -60}


def page_figure(
    traces: Iterable[Any],
    layout: dict[str, Any],
    *,
    title: str,
    note: str = "",
    alt: str = "",
    is_wide: bool = False,
) -> PageFigure:
    """A chart as the template takes it.

    Args:
        traces: of :mod:`plotly.graph_objects`, which has checked them.
        layout: from :func:`chart_layout`.
        title: heading of the chart.
        note: what a reader must know, below it.
        alt: what it shows, for screen readers.
        is_wide: whether it takes the page's whole width.
    """
    data = [trace.to_plotly_json() for trace in traces]
    words = {"title": title, "note": note, "alt": alt or title, "is_wide": is_wide}
    return {**words, "plot": {"data": data, "layout": layout}}


def _label(name: str) -> str:
    return escape_html(shorten(name, _LONGEST_NAME))
