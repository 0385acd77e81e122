"""Sums of similarities in one pass over products or maps, compiled by Numba; imported only with Numba."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

__all__ = ["DIRECT_POSITIONS", "add_differences", "add_products"]

# Maps with at most this many positions are as fast to subtract as to multiply, and nothing is lost to cancellation.
DIRECT_POSITIONS = 9
# Pairs for each thread: fewer are not worth starting one.
_PAIRS = 2**18
_ONE = np.float32(1)


def add_products(products: Tensor, maps: Tensor, norms: Tensor, near: float, sums: Tensor) -> None:
    """Add the similarities of some images.

    Pairs whose squared distance is below a share of the squared norm are measured by direct differences. The summand
    of an image depends neither on the other images nor on the number of threads.

    Args:
        products: (n, K, R) float32, contiguous: minus two products of K channels' maps with the first R of them. The
            places of a channel beside itself are overwritten.
        maps: (n, K, L) float32: the maps.
        norms: (n, K) float32: their squared norms.
        near: the share.
        sums: (K * R,) float64, to which similarities are added. That of a channel with itself has no meaning.
    """
    images, columns, rows = products.shape
    arguments = products.numpy(), norms.contiguous().numpy(), maps.numpy(), np.float32(near)
    _in_threads(_add_products, (*arguments, sums.view(columns, rows).numpy()), columns, images * columns * rows)


def add_differences(maps: Tensor, sums: Tensor) -> None:
    """Add the similarities of some images by direct differences, without cancellation.

    Args:
        maps: (n, L, K) float32, contiguous: the maps of K channels.
        sums: (K * R,) float64, to which the similarities with the first R of them are added.
    """
    images, _, columns = maps.shape
    _in_threads(_add_differences, (maps.numpy(), sums.view(columns, -1).numpy()), columns, images * len(sums))


def _in_threads(compiled: Any, arguments: tuple[Any, ...], columns: int, pairs: int) -> None:
    """Divide the columns between as many threads as torch uses."""
    threads = min(torch.get_num_threads(), columns, max(1, pairs // _PAIRS))
    if threads == 1:
        compiled(*arguments, 0, columns)
        return
    edges = [columns * number // threads for number in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first, last: compiled(*arguments, first, last), edges[:-1], edges[1:]))


@njit("float32(float32[:], float32[:])", nogil=True, cache=True, fastmath={"reassoc"})
def _squared_distance(one, other):
    total = np.float32(0)
    for position in range(one.size):
        difference = one[position] - other[position]
        total += difference * difference
    return total


# No reassociation here: the summand of an image must not depend on its place in the batch.
@njit(
    "void(float32[:, :, ::1], float32[:, ::1], float32[:, :, :], float32, float64[:, ::1], int64, int64)",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _add_products(products, norms, maps, near, sums, first, last):
    images, _, rows = products.shape
    total, squares = np.empty(rows, np.float64), np.empty(rows, np.float32)
    for column in range(first, last):
        total[:] = 0
        for image in range(images):
            product, ours = products[image, column], norms[image]
            theirs = ours[column]
            if column < rows:
                product[column] = np.inf
            found = False
            for row in range(rows):
                square = product[row] + ours[row] + theirs
                squares[row] = square
                found |= square < ours[row] * near
            if found:
                for row in range(rows):
                    if squares[row] < ours[row] * near:
                        squares[row] = _squared_distance(maps[image, column], maps[image, row])
            for row in range(rows):
                total[row] += np.float64(_ONE / (_ONE + np.sqrt(squares[row])))
        for row in range(rows):
            sums[column, row] += total[row]


@njit("void(float32[:, :, ::1], float64[:, ::1], int64, int64)", nogil=True, cache=True, error_model="numpy")
def _add_differences(maps, sums, first, last):
    images, positions, _ = maps.shape
    rows = sums.shape[1]
    total, squares = np.empty(rows, np.float64), np.empty(rows, np.float32)
    for column in range(first, last):
        total[:] = 0
        for image in range(images):
            squares[:] = 0
            for position in range(positions):
                ours = maps[image, position]
                theirs = ours[column]
                for row in range(rows):
                    difference = theirs - ours[row]
                    squares[row] += difference * difference
            for row in range(rows):
                total[row] += np.float64(_ONE / (_ONE + np.sqrt(squares[row])))
        for row in range(rows):
            sums[column, row] += total[row]
