"""Telling too little memory from other errors."""

from __future__ import annotations

import torch

__all__ = ["is_out_of_memory"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory is exhausted, and nothing about the model that is run.

    On the CPU torch raises a plain RuntimeError, which its text tells apart.
    """
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
