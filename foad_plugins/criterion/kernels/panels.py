"""Sums of similarities over images for all pairs of channels, by the fastest code for a device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .cpu_sums import numba_loop_sums, torch_sums
from .device_sums import device_sums
from .dispatch import disable_triton, numba_sums, triton_sums
from .packed import empty_sums
from .tf32 import disable_tf32

__all__ = ["Sums", "similarity_sums"]


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
        products: compute the products of maps as well where that is cheap: where distances come from products, on a
            CPU, and on a GPU with Triton.

    Returns:
        The sums; ``similarities`` is ``out`` if there is one.
    """
    device, channels = maps.device, maps.shape[1]
    add = triton_sums(maps)
    if add is not None:
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
    if not _on_cpu(maps):
        with disable_tf32(maps):
            added, sum_of_squares = device_sums(maps)
        return Sums(added if out is None else out.add_(added), sum_of_squares)
    sums = empty_sums(channels, device) if out is None else out
    grams = empty_sums(channels, device) if products else None
    loops = numba_sums(maps)
    if loops is None:
        sum_of_squares, multiplied = torch_sums(maps, sums, grams)
    else:
        sum_of_squares, multiplied = numba_loop_sums(maps, sums, grams, loops)
    return Sums(sums, sum_of_squares, grams if multiplied else None)


def _on_cpu(maps: Tensor) -> bool:
    """Whether the host can check every block without waiting for a device."""
    return maps.device.type == "cpu"
