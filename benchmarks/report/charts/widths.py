"""Per-layer widths of each entry."""

from __future__ import annotations

import plotly.graph_objects as go

from ..data.leaderboard import Leaderboard, Row
from .style import (
    SHADES,
    PageFigure,
    bare_layout,
    figure,
    heading,
    ink,
    layer_ticks,
    new_figure,
    plain,
    png,
    short_names,
    spelled,
    stacked_height,
    ticks,
)

__all__ = [
    "page_widths",
    "widths",
]


def widths(board: Leaderboard) -> bytes:
    """A PNG of the share of output channels that each entry keeps of each layer, mean over seeds.

    Layers of which nobody removes anything are left out. A map and not lines, which more than a few criteria would
    tangle; the shares are written where there is room.
    """
    layers = [
        layer
        for layer, width in board.base_widths.items()
        if any(row.widths.get(layer, width) != width for row in board.rows)
    ]
    shares = [
        [row.widths.get(layer, float("nan")) / board.base_widths[layer] for layer in layers] for row in board.rows
    ]
    figure = new_figure(max(7, 3.2 + 0.36 * len(layers)), 3 + 0.3 * len(board.rows))
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(board.rows)), [spelled(row.criterion) for row in board.rows])
    axes.set_xticks(range(len(layers)), short_names(layers), rotation=90, fontsize=8)
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            if share == share:
                axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=ink(share))
    figure.colorbar(image, ax=axes, label="share of channels kept", pad=0.01)
    axes.set_xlabel("layer (numbers: per cent kept)")
    figure.suptitle(heading(board))
    return png(figure)


def page_widths(board: Leaderboard) -> PageFigure | None:
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
