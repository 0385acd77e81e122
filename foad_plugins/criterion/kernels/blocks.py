"""Distances between the channels of one panel and later channels, some images at a time, by torch's operations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["CANCELLATION", "DIRECT_POSITIONS", "expand", "multiply", "shaped", "subtract"]

CANCELLATION = 2.0**-7
"""Squared distances below this share of the channel's squared norm are computed by direct difference: the expansion of
the square loses them to cancellation, and identical channels must have distance 0."""

DIRECT_POSITIONS = 4
"""Maps with at most this many positions are as fast to subtract as to multiply, and nothing is lost to cancellation."""

# Added to squares: too small to matter, but the square root of a CPU is twenty times slower at zero.
_TINY = 1e-36


def shaped(memory: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The first elements of a flat tensor in another shape: blocks of all sizes share one memory."""
    return memory[: math.prod(shape)].view(shape)


def subtract(theirs: Tensor, ours: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Distances, position by position: (n, K, L) and (n, R, L) to (n, K, R)."""
    if ours.shape[2] == 1:
        torch.sub(theirs, ours.transpose(1, 2), out=out).abs_()
        return
    difference, squares = shaped(scratch, out.shape), out.new_full((), _TINY)
    for position in range(ours.shape[2]):
        torch.sub(theirs[:, :, None, position], ours[:, None, :, position], out=difference)
        squares = torch.addcmul(squares, difference, difference, out=out)
    out.sqrt_()


def multiply(theirs: Tensor, ours: Tensor, out: Tensor, norms: Tensor) -> None:
    """Minus two products, (n, K, L) and (n, R, L) to (n, K, R); the first R of ``theirs`` are ``ours``.

    The squared norms of ``ours`` come from the diagonal of the product, which has the same rounding as the rest. They
    are written into ``norms`` (n, K), which already contains those of the later channels.
    """
    torch.baddbmm(out, theirs, ours.transpose(1, 2), beta=0, alpha=-2, out=out)
    torch.add(_TINY, out.diagonal(dim1=1, dim2=2), alpha=-0.5, out=norms[:, : ours.shape[1]])


def expand(products: Tensor, norms: Tensor) -> None:
    """Minus two products (n, K, R) to squared distances, in place; infinite from a channel to itself."""
    products.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    products.add_(norms[:, None, : products.shape[2]]).add_(norms[:, :, None])
