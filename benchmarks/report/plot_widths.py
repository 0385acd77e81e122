"""Per-layer widths of each entry."""

from __future__ import annotations

from collections.abc import Sequence

from .board import Leaderboard
from .looks import SHADES, heading, new_figure, png, spelled

__all__ = ["ink", "short_names", "widths"]


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


def ink(value: float) -> str:
    """Colour of text on a field of a map whose dark end is 0."""
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
