"""How much memory a refit takes, asked before it begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ...calibration.data import Call
from .batches import first_of, image_count, peak_bytes
from .trace import RunCall

__all__ = ["NotEnoughMemoryError", "check_memory"]

_MEASURED = 2
# Of the free memory; the rest is for what else runs.
_USABLE = 0.8


class NotEnoughMemoryError(ValueError):
    """The feature maps of all images do not fit into memory.

    Attributes:
        images: how many images fit.
    """

    def __init__(self, message: str, images: int) -> None:
        super().__init__(message)
        self.images = images


def check_memory(
    models: Sequence[nn.Module], calls: Sequence[Call], run_call: RunCall, max_memory: float | None = None
) -> None:
    """Refuse more images than memory holds the feature maps of.

    Args:
        models: that run side by side.
        calls: all at the same time.
        run_call: runs a model on a call.
        max_memory: bytes; None takes what is free on the device.

    Raises:
        NotEnoughMemoryError: fewer fit.
    """
    device = next((value.device for value in calls[0].args if isinstance(value, Tensor)), torch.device("cpu"))
    free = max_memory
    if free is None:
        found = _free_bytes(device)
        if found is None:
            return
        free = _USABLE * found
    small = first_of(calls[0], 0, _MEASURED)
    share = (image_count(small) or 1) / (image_count(calls[0]) or 1)
    needed = sum(peak_bytes(model, small, run_call) for model in models) / share * len(calls)
    if needed > free:
        images = sum(image_count(call) or 1 for call in calls)
        fitting = int(images * free / needed)
        raise NotEnoughMemoryError(
            f"the feature maps of {images} images take about {needed / 2**30:.1f} GiB in both networks, and "
            f"{free / 2**30:.1f} GiB can be used: give at most {fitting} images (fewer batches, or max_batches)",
            fitting,
        )


def _free_bytes(device: torch.device) -> float | None:
    """Free memory of a device; None where that cannot be told."""
    if device.type == "cuda":
        free: float = torch.cuda.mem_get_info(device)[0]
        # What torch holds for later use is free as well.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return None
