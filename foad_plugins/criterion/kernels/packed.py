"""Packed sums over pairs of channels: half a symmetric matrix in one row, panel by panel."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

__all__ = [
    "PANEL",
    "channel_pairs",
    "diagonal",
    "empty_sums",
    "offset",
    "packed_size",
    "tile_view",
    "unpacked",
    "unpacked_upper",
    "write_tiles",
]

# Channels of a panel: few, so that few pairs are computed twice; enough for an efficient matrix product.
PANEL = 64

_Place = TypeVar("_Place", int, Tensor)


def empty_sums(channels: int, device: torch.device) -> Tensor:
    """Packed sums over no image, all zero."""
    return torch.zeros(packed_size(channels), dtype=torch.float64, device=device)


def unpacked(packed: Tensor, channels: int) -> Tensor:
    """Packed sums as a symmetric (C, C) matrix; its diagonal has no meaning."""
    matrix = packed.new_empty(channels, channels)
    for top in range(0, channels, PANEL):
        rows = min(PANEL, channels - top)
        part = tile_view(packed, top, channels).view(-1, rows)
        matrix[top + rows :, top : top + rows] = part[rows:]
        matrix[top : top + rows, top + rows :] = part[rows:].T
        lower = part[:rows].tril(-1)
        matrix[top : top + rows, top : top + rows] = lower + lower.T
    return matrix


def unpacked_upper(packed: Tensor, channels: int) -> Tensor:
    """Packed sums as a (C, C) matrix with the diagonal; zero below it."""
    matrix = packed.new_zeros(channels, channels)
    for top in range(0, channels, PANEL):
        rows = min(PANEL, channels - top)
        matrix[top : top + rows, top:] = tile_view(packed, top, channels).view(-1, rows).T
    return matrix.triu_()


def diagonal(packed: Tensor, channels: int) -> Tensor:
    """The packed sums of each channel with itself, (C,)."""
    tops = range(0, channels, PANEL)
    tiles = [tile_view(packed, top, channels).view(-1, min(PANEL, channels - top)).diagonal() for top in tops]
    return torch.cat(tiles) if tiles else packed.new_empty(0)


def packed_size(channels: int) -> int:
    """The number of packed sums of C channels."""
    return sum(min(PANEL, channels - top) * (channels - top) for top in range(0, channels, PANEL))


def offset(channel: _Place, channels: int) -> _Place:
    """The place of the first sum of a channel's panel."""
    top = channel // PANEL * PANEL
    return top * channels - top * (top - PANEL) // 2


def channel_pairs(places: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The two channels of each of some packed sums, by their places in the row."""
    panel = torch.arange(0, channels, PANEL, device=places.device)
    top = panel[torch.searchsorted(offset(panel, channels), places, right=True) - 1]
    rows = (channels - top).clamp(max=PANEL)
    inside = places - offset(top, channels)
    return top + inside // rows, top + inside % rows


def tile_view(packed: Tensor, top: int, channels: int) -> Tensor:
    """The sums of the panel whose first channel is ``top``, (K, R) in one row."""
    start = offset(top, channels)
    return packed[start : start + (channels - top) * min(PANEL, channels - top)]


def write_tiles(block: Tensor, packed: Tensor, top: int) -> None:
    """Write the sums of several panels into packed sums.

    Args:
        block: (K, R), pairs of the K channels from ``top`` on with the R channels of these panels.
        packed: the packed sums.
        top: the first channel of the first panel.
    """
    columns, rows = block.shape
    for first in range(0, rows, PANEL):
        width = min(PANEL, rows - first)
        tile_view(packed, top + first, top + columns).view(-1, width).copy_(block[first:, first : first + width])
