"""Whether sums of similarities are made in one pass over memory, by a kernel of Triton's on a GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["FusedSums", "fused_sums"]

FusedSums = Callable[[Tensor, Tensor, Tensor, float, Tensor, int], None]


def fused_sums(maps: Tensor) -> FusedSums | None:
    """What adds up similarities for some maps in one pass; None where several operations of torch's have to do it.

    See :func:`~foad_plugins.triton_sums.add_similarities` for how it is called.
    """
    return _on_gpu(maps.device) if maps.is_cuda and maps.dtype == torch.float32 else None


@functools.cache
def _on_gpu(device: torch.device) -> FusedSums | None:
    """The kernel, tried once: there may be no Triton, no compiler for it, or a GPU that it does not know."""
    try:
        from .triton_sums import add_similarities

        few = torch.ones(4, 64, 64, device=device)
        add_similarities(few, few, few[:, 0], 0.5, few.new_zeros(64 * 64, dtype=torch.float64), 0)
    except Exception:
        return None
    return add_similarities
