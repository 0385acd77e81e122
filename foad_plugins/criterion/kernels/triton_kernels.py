"""Triton kernels that sum similarities (and products) over images for all pairs of channels; imported only with Triton.

Sums are packed as :mod:`.packed` describes. A program computes one tile, the pairs of BM channels
with the channels of one panel, over some of the images, and writes it to a buffer of its own: equal input gives equal
bits.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["add_differences", "add_products", "split_maps"]

# Compiled once for all values: what knowing them would save is little, and compiling takes seconds.
_ANY = [
    "images",
    "channels",
    "positions",
    "image_stride",
    "channel_stride",
    "position_stride",
    "images_each",
    "size",
]


@triton.jit
def split_maps(
    maps,
    planes,
    norms,
    channels,
    positions,
    padded,
    image_stride,
    channel_stride,
    position_stride,
    PLANES: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write maps as PLANES summands of 8 bits each, rows padded with zeros, and the squared norms of the maps.

    maps: (N, C, L) with any strides. planes: (N, PLANES, C, padded). norms: (N, C) float32.
    """
    image = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = channel < channels
    total = tl.zeros((ROWS,), tl.float32)
    source = maps + image * image_stride + channel[:, None] * channel_stride
    target = planes + image * (PLANES * channels * padded) + channel[:, None] * padded
    for start in range(0, padded, WIDTH):
        position = start + tl.arange(0, WIDTH)
        read = inside[:, None] & (position < positions)[None, :]
        rest = tl.load(source + position[None, :] * position_stride, mask=read, other=0.0).to(tl.float32)
        total += tl.sum(rest * rest, 1)
        write = inside[:, None] & (position < padded)[None, :]
        for plane in tl.static_range(PLANES):
            # One plane holds maps in half precision as they are; of several, each is the rounded rest of those before.
            part = rest if PLANES == 1 else rest.to(tl.bfloat16).to(tl.float32)
            tl.store(
                target + plane * channels * padded + position[None, :], part.to(planes.dtype.element_ty), mask=write
            )
            rest -= part
    tl.store(norms + image * channels + channel, total, mask=inside)


@triton.jit
def _tile(channels, PANEL: tl.constexpr, BM: tl.constexpr):
    """The first channel of a program's panel and the first of its BM channels."""
    number = tl.program_id(0)
    top = tl.zeros((), tl.int32)
    tiles = tl.cdiv(channels, BM)
    while number >= tiles:
        number -= tiles
        top += PANEL
        tiles = tl.cdiv(channels - top, BM)
    return top, top + number * BM


@triton.jit
def _store(buffer, size, values, top, column, row, channels, PANEL: tl.constexpr):
    """Write a tile to where the program's buffer of packed sums has it."""
    start = top.to(tl.int64) * channels - top.to(tl.int64) * (top - PANEL) // 2
    rows = tl.minimum(channels - top, PANEL)
    place = start + (column - top)[:, None] * rows + (row - top)[None, :]
    inside = (column < channels)[:, None] & (row < channels)[None, :]
    tl.store(buffer + tl.program_id(1).to(tl.int64) * size + place, values, mask=inside)


@triton.jit
def _similarity(squares):
    """1 / (1 + distance), exactly 1 at distance 0 whatever the rounding of the device's division."""
    similarity = 1.0 / (1.0 + tl.sqrt(tl.maximum(squares, 0.0)))
    return tl.where(squares <= 0.0, 1.0, similarity).to(tl.float64)


@triton.jit
def _squared_distances(first, others, inside, positions, position_stride, BM: tl.constexpr, WIDTH: tl.constexpr):
    """Squared distances of one map to BM others, by direct differences."""
    total = tl.zeros((BM,), tl.float32)
    for start in range(0, positions, WIDTH):
        position = start + tl.arange(0, WIDTH)
        read = position < positions
        one = tl.load(first + position * position_stride, mask=read, other=0.0).to(tl.float32)
        other = tl.load(others + (position * position_stride)[None, :], mask=inside & read[None, :], other=0.0)
        difference = other.to(tl.float32) - one[None, :]
        total += tl.sum(difference * difference, 1)
    return total


@triton.jit(do_not_specialize=_ANY)
def add_products(
    maps,
    planes,
    norms,
    sums,
    grams,
    images,
    channels,
    positions,
    padded,
    image_stride,
    channel_stride,
    position_stride,
    images_each,
    size,
    CLOSE: tl.constexpr,
    GRAM: tl.constexpr,
    PLANES: tl.constexpr,
    PANEL: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sum similarities over distances by the expansion of the square; close pairs by direct differences.

    maps, planes, norms: as of :func:`split_maps`. sums: (programs over images, size) float64. grams: the same for the
    products of maps, written if GRAM. CLOSE: pairs whose squared distance is below this share of the squared norm are
    close: there the expansion loses its digits to cancellation.
    """
    top, first = _tile(channels, PANEL, BM)
    column, row, inner = first + tl.arange(0, BM), top + tl.arange(0, PANEL), tl.arange(0, BK)
    column_inside, row_inside = (column < channels)[:, None], (row < channels)[None, :]
    columns, rows = column[:, None] * padded + inner[None, :], row[None, :] * padded + inner[:, None]
    begin = tl.program_id(1) * images_each
    chunks = padded // BK
    plane = channels * padded
    # Of a pair of channels one order is enough, and of a channel with itself nothing is needed.
    lower = (column[:, None] > row[None, :]) & column_inside & row_inside
    panel_row = tl.arange(0, PANEL)[None, :]
    similarities = tl.zeros((BM, PANEL), tl.float64)
    products = tl.zeros((BM, PANEL), tl.float64)
    product = tl.zeros((BM, PANEL), tl.float32)
    # One loop over images and positions: the next image is loaded while this one is finished.
    for step in range((tl.minimum(begin + images_each, images) - begin) * chunks):
        image = (begin + step // chunks).to(tl.int64)
        chunk = step % chunks
        base = planes + image * (PLANES * plane) + chunk * BK
        c0 = tl.load(base + columns, mask=column_inside, other=0.0)
        r0 = tl.load(base + rows, mask=row_inside, other=0.0)
        if PLANES == 3:
            c1 = tl.load(base + plane + columns, mask=column_inside, other=0.0)
            r1 = tl.load(base + plane + rows, mask=row_inside, other=0.0)
            c2 = tl.load(base + 2 * plane + columns, mask=column_inside, other=0.0)
            r2 = tl.load(base + 2 * plane + rows, mask=row_inside, other=0.0)
            # Small products first; those below 2^-24 of the largest are left out.
            product = tl.dot(c2, r0, product)
            product = tl.dot(c0, r2, product)
            product = tl.dot(c1, r1, product)
            product = tl.dot(c1, r0, product)
            product = tl.dot(c0, r1, product)
        product = tl.dot(c0, r0, product)
        if chunk == chunks - 1:
            ours = tl.load(norms + image * channels + row, mask=row < channels, other=0.0)[None, :]
            theirs = tl.load(norms + image * channels + column, mask=column < channels, other=0.0)[:, None]
            squares = ours + theirs - 2.0 * product
            if GRAM:
                products += product.to(tl.float64)
            close = lower & (squares < CLOSE * ours)
            source = maps + image * image_stride
            # From the last channel of the panel to the first, only those with close pairs.
            redo = tl.max(tl.where(close, panel_row, -1))
            while redo >= 0:
                exact = _squared_distances(
                    source + (top + redo) * channel_stride,
                    source + column[:, None] * channel_stride,
                    column_inside,
                    positions,
                    position_stride,
                    BM,
                    WIDTH,
                )
                squares = tl.where(close & (panel_row == redo), exact[:, None], squares)
                redo = tl.max(tl.where(close & (panel_row < redo), panel_row, -1))
            similarities += _similarity(squares)
            product = tl.zeros((BM, PANEL), tl.float32)
    _store(sums, size, similarities, top, column, row, channels, PANEL)
    if GRAM:
        _store(grams, size, products, top, column, row, channels, PANEL)


@triton.jit(do_not_specialize=_ANY)
def add_differences(
    maps,
    norms,
    sums,
    grams,
    images,
    channels,
    positions,
    image_stride,
    channel_stride,
    position_stride,
    images_each,
    size,
    GRAM: tl.constexpr,
    PANEL: tl.constexpr,
    BM: tl.constexpr,
):
    """As :func:`add_products`, for maps of few positions: all distances by direct differences, without planes.

    norms: (N, C) float32, written.
    """
    top, first = _tile(channels, PANEL, BM)
    column, row = first + tl.arange(0, BM), top + tl.arange(0, PANEL)
    begin = tl.program_id(1) * images_each
    similarities = tl.zeros((BM, PANEL), tl.float64)
    products = tl.zeros((BM, PANEL), tl.float64)
    for number in range(tl.minimum(begin + images_each, images) - begin):
        image = (begin + number).to(tl.int64)
        source = maps + image * image_stride
        squares = tl.zeros((BM, PANEL), tl.float32)
        product = tl.zeros((BM, PANEL), tl.float32)
        norm = tl.zeros((BM,), tl.float32)
        for position in range(positions):
            at = source + position * position_stride
            ours = tl.load(at + row * channel_stride, mask=row < channels, other=0.0).to(tl.float32)[None, :]
            theirs = tl.load(at + column * channel_stride, mask=column < channels, other=0.0).to(tl.float32)
            norm += theirs * theirs
            difference = theirs[:, None] - ours
            squares += difference * difference
            if GRAM:
                product += theirs[:, None] * ours
        similarities += _similarity(squares)
        if GRAM:
            products += product.to(tl.float64)
        if top == 0:
            tl.store(norms + image * channels + column, norm, mask=column < channels)
    _store(sums, size, similarities, top, column, row, channels, PANEL)
    if GRAM:
        _store(grams, size, products, top, column, row, channels, PANEL)
