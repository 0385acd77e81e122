"""Several passes over the data for sets of channels whose sums do not fit into memory together."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from ..criterion.kernels.packed import packed_size
from .observers import ChannelSet

__all__ = ["check_max_memory", "memory_in_bytes", "split_into_passes"]

_BYTES = 8


def check_max_memory(max_memory: float | None) -> float | None:
    """A limit of memory, validated: bytes as an integer, or a share of a device's memory in (0, 1] as a float.

    Raises:
        TypeError: not a number.
        ValueError: below 1 byte, or a share outside (0, 1].
    """
    if max_memory is None:
        return None
    if isinstance(max_memory, bool) or not isinstance(max_memory, (int, float)):
        raise TypeError(
            f"max_memory must be None, an integer (bytes) or a float in (0, 1] (share of the device's memory), "
            f"got {max_memory!r}"
        )
    if isinstance(max_memory, float) and not 0 < max_memory <= 1:
        raise ValueError(f"max_memory must be in (0, 1] as a share, or an integer number of bytes, got {max_memory!r}")
    if max_memory <= 0:
        raise ValueError(f"max_memory must be at least 1 byte, got {max_memory!r}")
    return max_memory


def memory_in_bytes(max_memory: float, device: torch.device) -> int:
    """A validated limit of memory in bytes.

    Args:
        max_memory: bytes (int), or a share (float) of the memory of the GPU, or of the machine for other devices.
        device: where the sums are kept.

    Raises:
        ValueError: a share, where the size of the memory is unknown.
    """
    if isinstance(max_memory, int):
        return max_memory
    if device.type == "cuda":
        return int(max_memory * torch.cuda.get_device_properties(device).total_memory)
    try:
        return int(max_memory * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        raise ValueError("max_memory: the size of this machine's memory is unknown; give bytes") from None


def split_into_passes(channel_sets: Sequence[ChannelSet], max_bytes: int) -> list[list[ChannelSet]]:
    """Divide sets of channels, in their order, into passes whose float64 sums need at most some bytes each.

    A set that is larger than the limit has a pass of its own.
    """
    passes: list[list[ChannelSet]] = []
    left = 0
    for channels in channel_sets:
        needed = _BYTES * packed_size(channels.num_channels)
        if not passes or needed > left:
            passes.append([])
            left = max_bytes
        passes[-1].append(channels)
        left -= needed
    return passes
