"""Channels of each layer."""

from __future__ import annotations

import plotly.graph_objects as go

from .board import Leaderboard, Row
from .page_looks import Figure, bare_layout, figure, layer_ticks, plain, stacked_height, ticks

__all__ = ["widths"]


def widths(board: Leaderboard) -> Figure | None:
    """The share of each layer's channels that stays, for all entries."""
    layers = [layer for layer in board.base_widths if any(_share(board, row, layer) != 1 for row in board.rows)]
    if not layers:
        return None
    rows = list(reversed(board.rows))
    shares = [[_share(board, row, layer) for layer in layers] for row in rows]
    words = [[_kept(board, row, layer) for layer in layers] for row in rows]
    heat = go.Heatmap(
        z=shares,
        # By place, as two entries may share a name.
        y=list(range(len(rows))),
        x=list(range(len(layers))),
        text=words,
        hoverinfo="text",
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "kept"}, "tickformat": ".0%", "thickness": 12},
    )
    layout = bare_layout(stacked_height(len(rows)) + 70)
    layout["xaxis"].update(layer_ticks(layers))
    layout["yaxis"].update(ticks([row.criterion for row in rows]))
    note = f"{len(layers)} layers that lost channels in some entry, from input to output; mean over seeds."
    return figure([heat], layout, title="Channels kept in each layer", note=note, is_wide=True)


def _share(board: Leaderboard, row: Row, layer: str) -> float | None:
    before, after = board.base_widths[layer], row.widths.get(layer)
    return None if after is None or not before else after / before


def _kept(board: Leaderboard, row: Row, layer: str) -> str:
    after = row.widths.get(layer)
    known = "not known" if after is None else f"{after:.4g} of {board.base_widths[layer]} channels"
    return f"<b>{plain(row.criterion)}</b><br>{plain(layer)}<br>{known}"
