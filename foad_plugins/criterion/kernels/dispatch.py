"""Which code computes sums of similarities: Triton kernels on a GPU, loops compiled by Numba on a CPU, or torch."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from ...utils.warnings import FOADWarning, warn

__all__ = ["NUMBA_SWITCH", "TRITON_SWITCH", "NumbaSums", "Work", "estimated_work", "numba_sums", "triton_sums"]

# Environment variables: 0 disables the code. FOAD_NUMBA=1 uses Numba however small the work is.
NUMBA_SWITCH = "FOAD_NUMBA"
TRITON_SWITCH = "FOAD_TRITON"

# Pairs of channels times images from which on Numba is used. It saves 1 to 2 ns for each of them, and importing it
# takes 0.5 to 5 s in every process.
_WORTH_IMPORTING = 2**29
# Triton's matrix products of bfloat16 need this compute capability.
_LEAST_CAPABILITY = (8, 0)


@dataclass
class Work:
    """The size of a calibration.

    Attributes:
        pairs: pairs of channels times images, over all tensors.
    """

    pairs: int = 0


_WORK: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def estimated_work() -> Iterator[Work]:
    """Decide on Numba by the work of a whole calibration inside, instead of by that of each tensor.

    Yields:
        The estimate, 0 at first; the caller sets it.
    """
    work = Work()
    token = _WORK.set(work)
    try:
        yield work
    finally:
        _WORK.reset(token)


@dataclass(frozen=True)
class NumbaSums:
    """Loops that add similarities in one pass over memory.

    Attributes:
        add_products: called as :func:`~foad_plugins.criterion.kernels.numba_loops.add_products`.
        add_differences: called as :func:`~foad_plugins.criterion.kernels.numba_loops.add_differences`.
        direct: maps with at most this many positions are subtracted instead of multiplied.
    """

    add_products: Callable[[Tensor, Tensor, Tensor, float, Tensor], None]
    add_differences: Callable[[Tensor, Tensor], None]
    direct: int


def numba_sums(maps: Tensor) -> NumbaSums | None:
    """Numba's loops for maps (N, C, L), or None where torch's operations are used.

    The loops are for float32 on a CPU, need the extra ``fast``, and differ from torch's operations by rounding only.
    """
    switch = os.environ.get(NUMBA_SWITCH)
    if maps.dtype != torch.float32 or maps.device.type != "cpu" or switch == "0":
        return None
    work = _WORK.get()
    pairs = maps.shape[0] * maps.shape[1] ** 2 // 2 if work is None else work.pairs
    return _numba() if switch == "1" or pairs >= _WORTH_IMPORTING else None


@functools.cache
def _numba() -> NumbaSums | None:
    try:
        from .numba_loops import DIRECT_POSITIONS, add_differences, add_products
    except ImportError:
        return None
    # Numba may not support this NumPy or this processor, or find no folder that it can write to.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        warn(f"Numba cannot be used, torch's operations are slower: {reason} (see NUMBA_CACHE_DIR)", FOADWarning)
        return None
    return NumbaSums(add_products, add_differences, DIRECT_POSITIONS)


TritonSums = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]


def triton_sums(maps: Tensor) -> TritonSums | None:
    """The function that adds similarities of maps (N, C, L) by Triton kernels; None where torch's operations are used.

    It is called as :func:`~foad_plugins.criterion.kernels.triton_sums.add_sums`.
    """
    if maps.device.type != "cuda" or os.environ.get(TRITON_SWITCH) == "0" or _disabled:
        return None
    if torch.version.hip is not None or torch.cuda.get_device_capability(maps.device) < _LEAST_CAPABILITY:
        return None
    found = _triton()
    return found[0] if found is not None and found[1](maps) else None


def disable_triton(error: Exception) -> None:
    """Use torch's operations from now on, with one warning.

    Warns:
        FOADWarning: with the error.
    """
    if not _disabled:
        _disabled.append(error)
        warn(
            f"Triton kernels failed ({type(error).__name__}: {error}); torch's operations are used, which are slower. "
            f"Set {TRITON_SWITCH}=0 in the environment to avoid the attempt.",
            FOADWarning,
        )


_disabled: list[Exception] = []


@functools.cache
def _triton() -> tuple[TritonSums, Callable[[Tensor], bool]] | None:
    try:
        from .triton_sums import add_sums, fits
    # Triton may be missing (Windows, macOS, CPU builds of torch) or too old.
    except Exception:
        return None
    return add_sums, fits
