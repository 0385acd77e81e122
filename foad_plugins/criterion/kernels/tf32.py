"""Full float32 precision for matrix products on a GPU, whatever the process allows for its networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["disable_tf32"]


@contextmanager
def disable_tf32(maps: Tensor) -> Iterator[None]:
    """Disable TF32 for products of maps on a GPU: its ten bits are enough for training, but not for distances."""
    if not maps.is_cuda:
        yield
        return
    settings = torch.backends.cuda.matmul
    # torch has an old and a new interface for this setting, and a process must not mix them.
    name: str
    full: bool | str
    try:
        name, full, known = "allow_tf32", False, settings.allow_tf32
    except RuntimeError:
        name, full, known = "fp32_precision", "ieee", settings.fp32_precision
    if known == full:
        yield
        return
    setattr(settings, name, full)
    try:
        yield
    finally:
        setattr(settings, name, known)
