"""Whether sums of similarities are made in one pass: by a little C on a CPU, by a kernel of Triton's on a GPU."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SWITCH", "FusedSums", "fused_sums"]

# Set to 0 in the environment, it keeps to torch's own operations.
SWITCH = "FOAD_FUSED"


def _none(maps: Tensor, sums: Tensor) -> None:
    raise NotImplementedError


@dataclass(frozen=True)
class FusedSums:
    """What adds up similarities in one pass.

    Attributes:
        add_products: called as :func:`~foad_plugins.triton_sums.add_products`.
        panels: how many panels it takes at once.
        direct: maps of so many positions or fewer are better subtracted than multiplied.
        add_differences: called as :func:`~foad_plugins.c_sums.add_differences`; never, where ``direct`` is 0.
    """

    add_products: Callable[[Tensor, Tensor, Tensor, float, Tensor, int], None]
    panels: int
    direct: int = 0
    add_differences: Callable[[Tensor, Tensor], None] = _none


def fused_sums(maps: Tensor) -> FusedSums | None:
    """What adds up similarities of some maps in one pass; None where operations of torch's have to do it.

    On a CPU that is a page of C, compiled in a moment when it is first wanted, where there is a C compiler. On a GPU it
    is a kernel that Triton compiles, which torch for CUDA brings along. Both are for float32, and give what the
    operations give but for the last digit.
    """
    if maps.dtype != torch.float32 or os.environ.get(SWITCH) == "0":
        return None
    if maps.device.type == "cpu":
        return _on_cpu()
    return _on_gpu(maps.device) if maps.is_cuda else None


@functools.cache
def _on_cpu() -> FusedSums | None:
    from .c_sums import DIRECT_POSITIONS, add_differences, add_products, library

    return None if library() is None else FusedSums(add_products, 1, DIRECT_POSITIONS, add_differences)


@functools.cache
def _on_gpu(device: torch.device) -> FusedSums | None:
    """The kernel, tried once: there may be no Triton, no compiler for it, or a GPU that it does not know."""
    try:
        from .triton_sums import add_products

        few = torch.ones(4, 64, 64, device=device)
        add_products(few, few, few[:, 0], 0.5, few.new_zeros(64 * 64, dtype=torch.float64), 0)
    except Exception:
        return None
    # Starting work on a GPU is slow, so that a wide product pays though some of it is then done twice.
    return FusedSums(add_products, 4)
