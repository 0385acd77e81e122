"""Whether sums of similarities are made in one pass over memory, by loops that Numba compiles."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SWITCH", "NumbaSums", "numba_sums"]

# Set to 0 in the environment, it keeps to torch's own operations.
SWITCH = "FOAD_NUMBA"


@dataclass(frozen=True)
class NumbaSums:
    """What adds up similarities in one pass.

    Attributes:
        add_products: called as :func:`~foad_plugins.criterion.kernels.numba_loops.add_products`.
        add_differences: called as :func:`~foad_plugins.criterion.kernels.numba_loops.add_differences`.
        direct: maps of so many positions or fewer are better subtracted than multiplied.
    """

    add_products: Callable[[Tensor, Tensor, Tensor, float, Tensor], None]
    add_differences: Callable[[Tensor, Tensor], None]
    direct: int


def numba_sums(maps: Tensor) -> NumbaSums | None:
    """What adds up similarities in one pass; None where operations of torch's have to do it.

    It is for float32 on a CPU, and needs Numba, the extra ``fast``. It gives what the operations give but for the last
    digit.
    """
    if maps.dtype != torch.float32 or maps.device.type != "cpu" or os.environ.get(SWITCH) == "0":
        return None
    return _compiled()


@functools.cache
def _compiled() -> NumbaSums | None:
    try:
        from .numba_loops import DIRECT_POSITIONS, add_differences, add_products
    # Numba is not there, or not for this Python, this NumPy or this processor: that is no reason to go without.
    except Exception:
        return None
    return NumbaSums(add_products, add_differences, DIRECT_POSITIONS)
