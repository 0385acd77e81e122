"""Whether sums of similarities are made in one pass over memory, by loops that Numba compiles."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["SWITCH", "AddProducts", "fused_sums"]

# Set to 0 in the environment, it keeps to torch's own operations.
SWITCH = "FOAD_FUSED"


AddProducts = Callable[[Tensor, Tensor, Tensor, float, Tensor], None]


def fused_sums(maps: Tensor) -> AddProducts | None:
    """What adds up similarities in one pass, see :func:`~foad_plugins.jit_sums.add_products`; None where it is not for.

    It is for float32 maps (n, C, L) on a CPU with more than one position, and needs Numba, the extra ``fast``. It gives
    what operations of torch's give but for the last digit.
    """
    if maps.dtype != torch.float32 or maps.device.type != "cpu" or maps.shape[2] == 1 or os.environ.get(SWITCH) == "0":
        return None
    return _compiled()


@functools.cache
def _compiled() -> AddProducts | None:
    try:
        from .jit_sums import add_products
    # Numba is not there, or not for this Python, this NumPy or this processor: that is no reason to go without.
    except Exception:
        return None
    return add_products
