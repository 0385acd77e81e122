"""Sums of similarities over images for all pairs of channels, one panel of channels at a time."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .dispatch import NumbaSums, disable_triton, numba_sums, triton_sums
from .packed import PANEL, channel_pairs, empty_sums, packed_size, tile_view, write_tiles
from .tf32 import disable_tf32

__all__ = ["Sums", "similarity_sums"]

# Squared distances below this share of the channel's squared norm are computed by direct difference: the expansion of
# the square loses them to cancellation, and identical channels must have distance 0.
_CANCELLATION = 2.0**-7
# Added to squares: too small to matter, but the square root of a CPU is twenty times slower at zero.
_TINY = 1e-36
# Maps with at most this many positions are as fast to subtract as to multiply, and nothing is lost to cancellation.
_DIRECT_POSITIONS = 4
# Elements of one block of distances for each thread of a CPU: few enough for the caches, enough to make the cost of
# starting a step small.
_BLOCK_CPU = 2**17
# Numba's loops use a block only twice, so larger ones pay.
_NUMBA_BLOCK_FACTOR = 4
# On a GPU a step ends before the host has started the next one: fewer and larger steps, of several panels.
_BLOCK_GPU = 2**25
_ROWS_GPU = 8 * PANEL
# Elements of the direct differences computed at once on a GPU.
_DIFFERENCES = 2**25


class Sums(NamedTuple):
    """Sums over the images of a batch, on the device of its maps.

    Attributes:
        similarities: packed, float64.
        sum_of_squares: of all values, a scalar; not finite if any value is not.
        products: of the maps of two channels, packed, float64; None if they were not computed.
    """

    similarities: Tensor
    sum_of_squares: Tensor
    products: Tensor | None = None


def similarity_sums(maps: Tensor, out: Tensor | None = None, *, products: bool = False) -> Sums:
    """Sum the similarities of all images.

    Args:
        maps: (N, C, L), floating point; N and L at least 1.
        out: sums of earlier maps, on the same device, to which these are added in place.
        products: compute the products of maps as well where that is cheap, which is on a GPU with Triton.

    Returns:
        The sums; ``similarities`` is ``out`` if there is one.
    """
    add = triton_sums(maps)
    if add is not None:
        device, channels = maps.device, maps.shape[1]
        sums = empty_sums(channels, device) if out is None else out
        grams = empty_sums(channels, device) if products else None
        try:
            return Sums(sums, add(maps, sums, grams), grams)
        except torch.OutOfMemoryError:
            raise
        # Compiling needs a C compiler and a matching driver. If it fails, nothing has been added yet.
        except Exception as error:
            disable_triton(error)
    if maps.dtype not in (torch.float32, torch.float64):
        maps = maps.float()
    with disable_tf32(maps):
        loops = numba_sums(maps)
        if loops is not None:
            return Sums(*_sums_numba(maps, loops, empty_sums(maps.shape[1], maps.device) if out is None else out))
        added, sum_of_squares = _sums_torch(maps)
        return Sums(added if out is None else out.add_(added), sum_of_squares)


def _sums_torch(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Packed similarities and the sum of squares, by torch's operations.

    A panel of R channels is compared with the K channels from its own first one on, a few images at a time. The last
    panel is first, so that the squared norms of later channels are known.
    """
    images, channels, positions = maps.shape
    direct = positions <= _DIRECT_POSITIONS
    if direct:
        # Position by position, so that reads are contiguous.
        maps = maps.transpose(1, 2).contiguous().transpose(1, 2)
    on_cpu, budget = _on_cpu(maps), _budget(maps)
    height = PANEL if on_cpu else _ROWS_GPU
    norms = maps.square().sum(2) if direct else maps.new_empty(images, channels)
    most = min(max(budget, channels * height), images * channels * height)
    # Large allocations begin at the same offset in a page, and would evict each other from the caches.
    memory, scratch = maps.new_empty(most), maps.new_empty((most if direct and positions > 1 else 0) + 272)[272:]
    wide = maps.new_empty((most if on_cpu else 0) + 264, dtype=torch.float64)[264:]
    ones = wide.new_ones(images)
    packed = wide.new_empty(packed_size(channels))
    near = None if direct or on_cpu else torch.zeros_like(packed, dtype=torch.bool)
    for top in reversed(range(0, channels, height)):
        columns, rows = channels - top, min(height, channels - top)
        part = tile_view(packed, top, channels) if rows <= PANEL else packed.new_empty(columns * rows)
        close = None if near is None else near.new_zeros(columns, rows)
        for start in range(0, images, step := max(1, budget // (rows * columns))):
            count = min(step, images - start)
            some = slice(start, start + count)
            ours, theirs = maps[some, top : top + rows], maps[some, top:]
            block = _shaped(memory, (count, columns, rows))
            if direct:
                _subtract(theirs, ours, block, scratch)
            else:
                _multiply(theirs, ours, block, norms[some, top:])
                _expand(block, norms[some, top:])
                limit = norms[some, top : top + rows] * _CANCELLATION
                if close is None:
                    _recompute_close_pairs(block, theirs, ours, limit)
                else:
                    close.logical_or_((block < limit[:, None, :]).any(0))
                block.sqrt_()
            block.add_(1).reciprocal_()
            if on_cpu:
                added = _shaped(wide, (count, columns, rows)).copy_(block)
                torch.addmv(part, added.flatten(1).T, ones[:count], beta=min(start, 1), out=part)
            elif start:
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


def _sums_numba(maps: Tensor, sums: NumbaSums, packed: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`_sums_torch`, added to ``packed``, with one pass over each product."""
    images, channels, positions = maps.shape
    if positions <= sums.direct:
        maps = maps.transpose(1, 2)
        for top in range(0, channels, PANEL):
            sums.add_differences(maps[:, :, top:].contiguous(), tile_view(packed, top, channels))
        return packed, maps.square().sum()
    norms, budget = maps.new_empty(images, channels), _NUMBA_BLOCK_FACTOR * _budget(maps)
    memory = maps.new_empty(min(max(budget, channels * PANEL), images * channels * PANEL))
    for top in reversed(range(0, channels, PANEL)):
        columns, rows = channels - top, min(PANEL, channels - top)
        for start in range(0, images, step := max(1, budget // (rows * columns))):
            some = slice(start, start + step)
            theirs = maps[some, top:]
            products = _shaped(memory, (len(theirs), columns, rows))
            _multiply(theirs, theirs[:, :rows], products, norms[some, top:])
            sums.add_products(products, theirs, norms[some, top:], _CANCELLATION, tile_view(packed, top, channels))
    return packed, norms.sum()


def _budget(maps: Tensor) -> int:
    return _BLOCK_CPU * torch.get_num_threads() if _on_cpu(maps) else _BLOCK_GPU


def _shaped(memory: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The first elements of a flat tensor in another shape: blocks of all sizes share one memory."""
    return memory[: math.prod(shape)].view(shape)


def _subtract(theirs: Tensor, ours: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Distances, position by position: (n, K, L) and (n, R, L) to (n, K, R)."""
    if ours.shape[2] == 1:
        torch.sub(theirs, ours.transpose(1, 2), out=out).abs_()
        return
    difference, squares = _shaped(scratch, out.shape), out.new_full((), _TINY)
    for position in range(ours.shape[2]):
        torch.sub(theirs[:, :, None, position], ours[:, None, :, position], out=difference)
        squares = torch.addcmul(squares, difference, difference, out=out)
    out.sqrt_()


def _multiply(theirs: Tensor, ours: Tensor, out: Tensor, norms: Tensor) -> None:
    """Minus two products, (n, K, L) and (n, R, L) to (n, K, R); the first R of ``theirs`` are ``ours``.

    The squared norms of ``ours`` come from the diagonal of the product, which has the same rounding as the rest. They
    are written into ``norms`` (n, K), which already contains those of the later channels.
    """
    torch.baddbmm(out, theirs, ours.transpose(1, 2), beta=0, alpha=-2, out=out)
    torch.add(_TINY, out.diagonal(dim1=1, dim2=2), alpha=-0.5, out=norms[:, : ours.shape[1]])


def _expand(products: Tensor, norms: Tensor) -> None:
    """Minus two products (n, K, R) to squared distances, in place; infinite from a channel to itself."""
    products.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    products.add_(norms[:, None, : products.shape[2]]).add_(norms[:, :, None])


def _on_cpu(maps: Tensor) -> bool:
    """Whether the host can check every block without waiting for a device."""
    return maps.device.type == "cpu"


def _recompute_close_pairs(squares: Tensor, theirs: Tensor, ours: Tensor, limit: Tensor) -> None:
    """Replace squares (n, K, R) below the limit (n, R) by direct differences.

    Image by image: the result of one image must not depend on the others in its batch.
    """
    image, column = (squares.amin(1) < limit).nonzero(as_tuple=True)
    if not len(image):
        return
    found, row = (squares[image, :, column] < limit[image, column, None]).nonzero(as_tuple=True)
    image, column = image[found], column[found]
    for few in torch.arange(len(row)).split(max(1, _BLOCK_CPU // ours.shape[2])):
        difference = theirs[image[few], row[few]] - ours[image[few], column[few]]
        squares[image[few], row[few], column[few]] = difference.square_().sum(1)


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
