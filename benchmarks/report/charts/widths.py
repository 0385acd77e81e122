"""Channels that are kept in each layer."""

from __future__ import annotations

from ..data.leaderboard import Leaderboard, Row
from ..formatting import escape_html
from .interactive import PageFigure, chart_layout, heatmap, height_for, layer_axis, name_axis, page_figure
from .series import Grid


def widths_grid(board: Leaderboard) -> Grid:
    """The share of channels that each row keeps of each pruned layer, mean over seeds; the first row at the bottom."""
    layers, rows = tuple(board.pruned_layers), tuple(reversed(board.rows))
    return Grid(
        rows=tuple(row.title for row in rows),
        columns=layers,
        values=tuple(tuple(_share(board, row, layer) for layer in layers) for row in rows),
        hover=tuple(tuple(_hover(board, row, layer) for layer in layers) for row in rows),
    )


def _share(board: Leaderboard, row: Row, layer: str) -> float | None:
    return row.widths[layer] / board.base_widths[layer] if layer in row.widths else None


def _hover(board: Leaderboard, row: Row, layer: str) -> str:
    after = row.widths.get(layer)
    known = "not known" if after is None else f"{after:.4g} of {board.base_widths[layer]} channels"
    return f"<b>{escape_html(row.criterion)}</b><br>{escape_html(layer)}<br>{known}"


def widths_figure(board: Leaderboard) -> PageFigure | None:
    """The grid as a map; None if no layer is pruned."""
    grid = widths_grid(board)
    if not grid.columns:
        return None
    bar = {"title": {"text": "kept"}, "tickformat": ".0%", "thickness": 12}
    trace = heatmap(grid, zmin=0, zmax=1, colorbar=bar)
    layout = chart_layout(height_for(len(grid.rows), least=0) + 70)
    layout["xaxis"].update(layer_axis(grid.columns))
    layout["yaxis"].update(name_axis(grid.rows))
    note = f"The {len(grid.columns)} layers that some criterion prunes, from input to output; mean over seeds."
    return page_figure([trace], layout, title="Channels kept in each layer", note=note, is_wide=True)
