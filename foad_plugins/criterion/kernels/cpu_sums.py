"""Sums of similarities and products on a CPU, by torch's operations or by loops that Numba compiles."""

from __future__ import annotations

import torch
from torch import Tensor

from .blocks import CANCELLATION, DIRECT_POSITIONS, expand, multiply, shaped, subtract
from .dispatch import NumbaSums
from .packed import PANEL, tile_view

__all__ = ["numba_loop_sums", "torch_sums"]

# Elements of one block of distances for each thread: few enough for the last cache, enough to make the cost of starting
# a step and of reading the sums small.
_BLOCK = 2**19
# Elements of the direct differences computed at once.
_DIFFERENCES = 2**17


def torch_sums(maps: Tensor, packed: Tensor, grams: Tensor | None) -> tuple[Tensor, bool]:
    """Add similarities to packed sums by torch's operations.

    A few images at a time, a panel of R channels is compared with the K channels from its own first one on. The last
    panel is first, so that the squared norms of later channels are known.

    Args:
        maps: (N, C, L), float32 or float64.
        packed: the sums, float64.
        grams: packed sums of products, to which those of the maps are added; None for none.

    Returns:
        The sum of squares, and whether products were added; they are not for maps of few positions, which are
        subtracted.
    """
    images, channels, positions = maps.shape
    direct = positions <= DIRECT_POSITIONS
    if direct:
        # Position by position, so that reads are contiguous.
        maps = maps.transpose(1, 2).contiguous().transpose(1, 2)
    step = _images_at_once(maps)
    norms = maps.square().sum(2) if direct else maps.new_empty(images, channels)
    most = step * channels * min(PANEL, channels)
    # Large allocations begin at the same offset in a page, and would evict each other from the caches.
    memory, scratch = maps.new_empty(most), maps.new_empty((most if direct and positions > 1 else 0) + 272)[272:]
    wide = maps.new_empty(most + 264, dtype=torch.float64)[264:]
    ones = wide.new_ones(step)
    for start in range(0, images, step):
        some, beside = maps[start : start + step], norms[start : start + step]
        count = len(some)
        for top in reversed(range(0, channels, PANEL)):
            theirs, ours = some[:, top:], some[:, top : top + PANEL]
            shape = count, theirs.shape[1], ours.shape[1]
            block, part = shaped(memory, shape), tile_view(packed, top, channels)
            if direct:
                subtract(theirs, ours, block, scratch)
            else:
                multiply(theirs, ours, block, beside[:, top:])
                if grams is not None:
                    _add_products(block, tile_view(grams, top, channels))
                expand(block, beside[:, top:])
                _recompute_close_pairs(block, theirs, ours, beside[:, top : top + PANEL] * CANCELLATION)
                block.sqrt_()
            block.add_(1).reciprocal_()
            added = shaped(wide, shape).copy_(block)
            torch.addmv(part, added.flatten(1).T, ones[:count], out=part)
    return norms.sum(), not direct


def numba_loop_sums(maps: Tensor, packed: Tensor, grams: Tensor | None, loops: NumbaSums) -> tuple[Tensor, bool]:
    """As :func:`torch_sums`, for float32, with one pass over each product."""
    images, channels, positions = maps.shape
    if positions <= loops.direct:
        maps = maps.transpose(1, 2)
        for top in range(0, channels, PANEL):
            loops.add_differences(maps[:, :, top:].contiguous(), tile_view(packed, top, channels))
        return maps.square().sum(), False
    step = _images_at_once(maps)
    norms, memory = maps.new_empty(images, channels), maps.new_empty(step * channels * min(PANEL, channels))
    for start in range(0, images, step):
        some, beside = maps[start : start + step], norms[start : start + step]
        for top in reversed(range(0, channels, PANEL)):
            theirs, ours = some[:, top:], some[:, top : top + PANEL]
            products = shaped(memory, (len(some), theirs.shape[1], ours.shape[1]))
            multiply(theirs, ours, products, beside[:, top:])
            if grams is not None:
                _add_products(products, tile_view(grams, top, channels))
            loops.add_products(products, theirs, beside[:, top:], CANCELLATION, tile_view(packed, top, channels))
    return norms.sum(), True


def _images_at_once(maps: Tensor) -> int:
    """All panels of some images are done before the next images are read: they are in the caches then."""
    images, channels, _ = maps.shape
    return min(images, max(1, _BLOCK * torch.get_num_threads() // max(1, channels * min(PANEL, channels))))


def _add_products(products: Tensor, grams: Tensor) -> None:
    """Add minus half of minus two products (n, K, R)."""
    total = products[0] if len(products) == 1 else products.sum(0)
    grams.add_(total.flatten(), alpha=-0.5)


def _recompute_close_pairs(squares: Tensor, theirs: Tensor, ours: Tensor, limit: Tensor) -> None:
    """Replace squares (n, K, R) below the limit (n, R) by direct differences.

    Image by image: the result of one image must not depend on the others in its batch.
    """
    image, column = (squares.amin(1) < limit).nonzero(as_tuple=True)
    if not len(image):
        return
    found, row = (squares[image, :, column] < limit[image, column, None]).nonzero(as_tuple=True)
    image, column = image[found], column[found]
    for few in torch.arange(len(row)).split(max(1, _DIFFERENCES // ours.shape[2])):
        difference = theirs[image[few], row[few]] - ours[image[few], column[few]]
        squares[image[few], row[few], column[few]] = difference.square_().sum(1)
