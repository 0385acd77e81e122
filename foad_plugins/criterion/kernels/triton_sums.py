"""Sums of similarities and products by Triton kernels, without waiting for the device."""

from __future__ import annotations

import functools
import math

import torch
import triton
from torch import Tensor

from .packed import PANEL, packed_size
from .triton_kernels import add_differences, add_products, split_maps

__all__ = ["add_sums", "fits", "tile_options"]

# Squared distances below this share of the squared norm are measured again by direct differences.
_CLOSE = 2.0**-7
# Maps of so few positions are as fast to subtract as to multiply.
_DIRECT_POSITIONS = 16
# Bytes of planes at once: enough to fill a device, little beside the activations of a forward pass.
_PLANE_BYTES = 2**27
# Programs for each multiprocessor: several hide each other's waiting.
_PROGRAMS = 4
# Positions of one step of the matrix product.
_CHUNK = 32
# Channels that one program splits.
_ROWS = 16
# Offsets within one image are computed in 32 bits.
_LARGEST_OFFSET = 2**31 - 1
# Compute capabilities of devices with 160 KiB or more for each multiprocessor.
_LARGE_SHARED_MEMORY = ((8, 0), (9, 0), (10, 0))


def fits(maps: Tensor) -> bool:
    """Whether the kernels can read maps (N, C, L): float32, float16 or bfloat16, an image within 2^31 elements."""
    if maps.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return False
    _, channels, positions = maps.shape
    reach = (channels - 1) * maps.stride(1) + (positions - 1) * maps.stride(2)
    planes = 3 * channels * _padded(positions)
    return max(reach, planes) < _LARGEST_OFFSET


def add_sums(maps: Tensor, sums: Tensor, grams: Tensor | None = None) -> Tensor:
    """Add the similarities of some images to packed sums, in place.

    Equal input gives equal bits. Maps are read where they lie, whatever their strides.

    Args:
        maps: (N, C, L) for which :func:`fits` holds; N, C and L at least 1.
        sums: packed sums, float64, on the device of the maps.
        grams: packed sums to which the products of maps, summed over positions, are added in the same launch.

    Returns:
        The sum of all squared norms, a scalar on the device, which is not finite if any value was not.
    """
    images, channels, positions = maps.shape
    planes = 3 if maps.dtype == torch.float32 else 1
    bytes_each = 2 * planes * channels * _padded(positions)
    at_once = images if positions <= _DIRECT_POSITIONS else max(1, _PLANE_BYTES // bytes_each)
    totals = [_launch(part, planes, gram=grams is not None) for part in maps.split(at_once)]
    # Nothing is added before all launches have succeeded.
    for similarity, product, _ in totals:
        sums += similarity
        if grams is not None:
            grams += product
    return torch.stack([norm for _, _, norm in totals]).sum()


def tile_options(channels: int, *, gram: bool, capability: tuple[int, int]) -> dict[str, int]:
    """Tile height, warps and stages of ``add_products``: what fits the registers and the shared memory of a device."""
    height = 128 if channels >= 256 and not gram else 64
    stages = 3 if capability in _LARGE_SHARED_MEMORY else 2
    return {"BM": height, "num_warps": 8, "num_stages": stages}


def _launch(maps: Tensor, planes: int, *, gram: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Packed similarities and products (the similarities again without ``gram``) and the sum of squared norms."""
    images, channels, positions = maps.shape
    direct = positions <= _DIRECT_POSITIONS
    options = {"BM": 64, "num_warps": 8}
    if not direct:
        options = tile_options(channels, gram=gram, capability=_capability(maps.device))
    tiles = sum(math.ceil((channels - top) / options["BM"]) for top in range(0, channels, PANEL))
    each = math.ceil(images / min(images, math.ceil(_PROGRAMS * _processors(maps.device) / tiles)))
    parts = math.ceil(images / each)
    norms = torch.empty(images, channels, device=maps.device)
    sums = torch.empty(parts, packed_size(channels), dtype=torch.float64, device=maps.device)
    grams = torch.empty_like(sums) if gram else sums
    shape = images, channels, positions
    if direct:
        add_differences[(tiles, parts)](
            maps, norms, sums, grams, *shape, *maps.stride(), each, sums.shape[1], GRAM=gram, PANEL=PANEL, **options
        )
    else:
        split = _split(maps, planes, norms)
        add_products[(tiles, parts)](
            maps, split, norms, sums, grams, *shape, split.shape[-1], *maps.stride(), each, sums.shape[1],
            CLOSE=_CLOSE, GRAM=gram, PLANES=planes, PANEL=PANEL, BK=_CHUNK,
            WIDTH=_CHUNK, **options,
        )  # fmt: skip
    # Every program has a row of its own: adding them in a fixed order gives equal bits, which atomics would not.
    return sums.sum(0), grams.sum(0) if gram else sums, norms.sum()


def _split(maps: Tensor, planes: int, norms: Tensor) -> Tensor:
    """Maps in one or three planes, padded; their squared norms are written into ``norms``."""
    images, channels, positions = maps.shape
    padded = _padded(positions)
    dtype = torch.bfloat16 if planes > 1 else maps.dtype
    # Triton's interpreter, on a CPU, cannot multiply bfloat16.
    if maps.device.type == "cpu" and dtype == torch.bfloat16:
        dtype = torch.float32
    split = torch.empty(images, planes, channels, padded, dtype=dtype, device=maps.device)
    split_maps[(math.ceil(channels / _ROWS), images)](
        maps, split, norms, channels, positions, padded, *maps.stride(),
        PLANES=planes, ROWS=_ROWS, WIDTH=min(256, triton.next_power_of_2(padded)),
    )  # fmt: skip
    return split


def _padded(positions: int) -> int:
    return math.ceil(positions / _CHUNK) * _CHUNK


@functools.cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


@functools.cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (8, 0)
