"""From products to sums of similarities in one pass over a GPU's memory; imported only where Triton is there."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .packed import PANEL

__all__ = ["add_products"]

# Channels of a tile, and positions subtracted at once where two of its channels are near: few, since near pairs are.
_TILE = 32
_POSITIONS = 8
# Images that one program goes through: few, so that many programs run side by side.
_IMAGES = 4
# Triton would compile again for every length that is a multiple of 16, and for every 1.
_ANY = ("images", "columns", "positions", "image_stride", "channel_stride", "position_stride", "norm_stride", "top")


def add_products(products: Tensor, theirs: Tensor, norms: Tensor, near: float, packed: Tensor, top: int) -> None:
    """Add up the similarities of some images; the host waits for nothing.

    Pairs whose squared distance is below a share of the squared norm are measured by direct differences.

    Args:
        products: (n, K, R) float32, contiguous: minus two products of the last K channels' maps with the first R of
            them.
        theirs: (n, K, L) float32: the maps.
        norms: (n, K) float32: their squared norms, with unit stride along K.
        near: the share.
        packed: the float64 sums of all channels, to which similarities are added. That of a channel to itself means
            nothing.
        top: the first of the K channels, at the beginning of a panel.
    """
    images, columns, rows = products.shape
    grid = (triton.cdiv(columns, _TILE), triton.cdiv(rows, _TILE), triton.cdiv(images, _IMAGES))
    with torch.cuda.device_of(products):
        _add_tile[grid](
            products,
            theirs,
            norms,
            packed,
            images,
            columns,
            rows,
            theirs.shape[2],
            theirs.stride(0),
            theirs.stride(1),
            theirs.stride(2),
            norms.stride(0),
            near,
            top,
            PANEL=PANEL,
            TILE=_TILE,
            POSITIONS=_POSITIONS,
            IMAGES=_IMAGES,
            enable_fp_fusion=False,
        )


@triton.jit(do_not_specialize=_ANY)
def _add_tile(
    products,
    maps,
    norms,
    sums,
    images,
    columns,
    rows,
    positions,
    image_stride,
    channel_stride,
    position_stride,
    norm_stride,
    near,
    top,
    PANEL: tl.constexpr,  # noqa: N803
    TILE: tl.constexpr,  # noqa: N803
    POSITIONS: tl.constexpr,  # noqa: N803
    IMAGES: tl.constexpr,  # noqa: N803
):
    column = tl.program_id(0) * TILE + tl.arange(0, TILE)
    row = tl.program_id(1) * TILE + tl.arange(0, TILE)
    # The panel that the rows are in, counted from the first channel of all, and where its sums begin.
    panel = (top + tl.program_id(1) * TILE) // PANEL * PANEL
    across = tl.minimum(PANEL, top + columns - panel)
    offset = panel.to(tl.int64) * (top + columns) - panel.to(tl.int64) * (panel - PANEL) // 2
    is_column, is_row = (column < columns) & (top + column >= panel), row < rows
    inside = is_column[:, None] & is_row[None, :]
    apart = inside & (column[:, None] != row[None, :])
    place = column[:, None] * rows + row[None, :]
    total = tl.zeros((TILE, TILE), dtype=tl.float64)
    first = tl.program_id(2).to(tl.int64) * IMAGES
    for number in range(0, tl.minimum(IMAGES, images - first)):
        image = first + number
        theirs = tl.load(norms + image * norm_stride + column, mask=is_column, other=0.0)
        ours = tl.load(norms + image * norm_stride + row, mask=is_row, other=0.0)
        square = tl.load(products + image * columns * rows + place, mask=inside, other=0.0)
        square = square + ours[None, :] + theirs[:, None]
        is_near = apart & (square < ours[None, :] * near)
        if tl.max(tl.max(is_near.to(tl.int32), axis=1), axis=0) > 0:
            direct = tl.zeros((TILE, TILE), dtype=tl.float32)
            for start in range(0, positions, POSITIONS):
                position = start + tl.arange(0, POSITIONS)
                along = image * image_stride + position[None, :].to(tl.int64) * position_stride
                known = position[None, :] < positions
                a = tl.load(maps + along + column[:, None] * channel_stride, mask=known & is_column[:, None], other=0.0)
                b = tl.load(maps + along + row[:, None] * channel_stride, mask=known & is_row[:, None], other=0.0)
                difference = a[:, None, :] - b[None, :, :]
                direct += tl.sum(difference * difference, axis=2)
            square = tl.where(is_near, direct, square)
        # A channel's distance to itself may come out below zero, and nobody looks at it.
        similarity = tl.div_rn(1.0, 1.0 + tl.sqrt_rn(tl.maximum(square, 0.0)))
        total += similarity.to(tl.float64)
    there = offset + (top + column[:, None] - panel) * across + (top + row[None, :] - panel)
    tl.atomic_add(sums + there, total, mask=inside)
