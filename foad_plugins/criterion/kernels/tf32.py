"""Matrix products on a GPU in float32 as it is, whatever the process has allowed for its networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["disable_tf32"]


@contextmanager
def disable_tf32(maps: Tensor) -> Iterator[None]:
    """Keep TF32 out of products of maps on a GPU: its ten bits are for training, and distances are lost in them."""
    if not maps.is_cuda:
        yield
        return
    settings = torch.backends.cuda.matmul
    # Settings made in torch's older way must be changed in that way, and those made in the newer way in the newer one.
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
