"""What a chart shows, as plain data that both kinds of picture are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .style import SeriesStyle


@dataclass(frozen=True)
class Series:
    """Points that belong together, such as those of one criterion.

    Attributes:
        name: for the legend.
        style: color and marker.
        x: positions.
        y: positions, as many.
        x_margin: half the 95 % interval of each x, 0 where it is not known; empty for none at all.
        y_margin: the same for y.
        hover: for each point what the page shows when it is hovered over, as HTML.
        rows: keys of the table's rows that the points come from; the page's filters hide them together.
    """

    name: str
    style: SeriesStyle
    x: tuple[float, ...]
    y: tuple[float, ...]
    x_margin: tuple[float, ...] = ()
    y_margin: tuple[float, ...] = ()
    hover: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Values by row and column.

    Attributes:
        rows: names, from top to bottom; two can be equal.
        columns: names, from left to right.
        values: (rows, columns), None for what is not known.
        hover: for each value what the page shows when it is hovered over, as HTML.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    hover: tuple[tuple[str, ...], ...]


def short_names(layers: Sequence[str]) -> list[str]:
    """Names of layers without the dotted parts that all begin or end with."""
    parts = [layer.split(".") for layer in layers]
    for end in (0, -1):
        while len(parts) > 1 and all(len(part) > 1 for part in parts) and len({part[end] for part in parts}) == 1:
            for part in parts:
                part.pop(end)
    return [".".join(part) for part in parts]
