"""Sums of similarities by torch's operations on a GPU, which works while the host goes on."""

from __future__ import annotations

import torch
from torch import Tensor

from .blocks import CANCELLATION, DIRECT_POSITIONS, expand, multiply, shaped, subtract
from .packed import PANEL, channel_pairs, packed_size, tile_view, write_tiles

__all__ = ["device_sums"]

# A step ends before the host has started the next one: large steps, of several panels.
_BLOCK = 2**25
_ROWS = 8 * PANEL
# Elements of the direct differences computed at once.
_DIFFERENCES = 2**25


def device_sums(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Packed similarities of maps (N, C, L) and the sum of squares, with at most one wait for the device.

    A panel of R channels is compared with the K channels from its own first one on, a few images at a time. The last
    panel is first, so that the squared norms of later channels are known.
    """
    images, channels, positions = maps.shape
    direct = positions <= DIRECT_POSITIONS
    if direct:
        # Position by position, so that reads are contiguous.
        maps = maps.transpose(1, 2).contiguous().transpose(1, 2)
    norms = maps.square().sum(2) if direct else maps.new_empty(images, channels)
    most = min(max(_BLOCK, channels * _ROWS), images * channels * _ROWS)
    memory, scratch = maps.new_empty(most), maps.new_empty(most if direct and positions > 1 else 0)
    packed = maps.new_empty(packed_size(channels), dtype=torch.float64)
    near = None if direct else torch.zeros_like(packed, dtype=torch.bool)
    for top in reversed(range(0, channels, _ROWS)):
        columns, rows = channels - top, min(_ROWS, channels - top)
        part = tile_view(packed, top, channels) if rows <= PANEL else packed.new_empty(columns * rows)
        close = None if near is None else near.new_zeros(columns, rows)
        for start in range(0, images, step := max(1, _BLOCK // (rows * columns))):
            some = slice(start, start + step)
            ours, theirs = maps[some, top : top + rows], maps[some, top:]
            block = shaped(memory, (len(theirs), columns, rows))
            if close is None:
                subtract(theirs, ours, block, scratch)
            else:
                multiply(theirs, ours, block, norms[some, top:])
                expand(block, norms[some, top:])
                limit = norms[some, top : top + rows] * CANCELLATION
                close.logical_or_((block < limit[:, None, :]).any(0))
                block.sqrt_()
            block.add_(1).reciprocal_()
            if start:
                part += block.sum(0, dtype=torch.float64).flatten()
            else:
                torch.sum(block, 0, dtype=torch.float64, out=part.view(columns, rows))
        if rows > PANEL:
            write_tiles(part.view(columns, rows), packed, top)
        if near is not None and close is not None:
            write_tiles(close, near, top)
    if near is not None:
        _recompute_close_sums(maps, packed, near)
    return packed, norms.sum()


def _recompute_close_sums(maps: Tensor, packed: Tensor, near: Tensor) -> None:
    """Replace the sums of pairs that are close in any image by sums over direct differences.

    Args:
        maps: (N, C, L).
        packed: the sums.
        near: booleans, which sums to replace.
    """
    images, channels, positions = maps.shape
    places = near.nonzero()[:, 0]
    if not len(places):
        return
    theirs, ours = channel_pairs(places, channels)
    few = max(1, _DIFFERENCES // (images * positions))
    for start in range(0, len(places), few):
        some = slice(start, start + few)
        squares = (maps[:, theirs[some]] - maps[:, ours[some]]).square_().sum(2)
        packed[places[some]] = squares.sqrt_().add_(1).reciprocal_().sum(0, dtype=torch.float64)
