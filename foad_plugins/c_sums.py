"""Sums of similarities by a little C, compiled when it is first wanted, where there is a C compiler."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from .packed import tile

__all__ = ["DIRECT_POSITIONS", "add_differences", "add_products", "library"]

# Maps of so few positions are as fast to subtract as to multiply, and then nothing is lost at all.
DIRECT_POSITIONS = 6

# No -ffast-math: sums must come out the same wherever an image stands in its batch.
_FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
# What is nice to have, the most first: this processor's own instructions, and threads.
_EXTRAS = (("-march=native", "-fopenmp"), ("-march=native",), ())
_SECONDS = 60

_POINTER, _SIZE, _FLOAT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions; None without a compiler that makes them.

    The file is gone again once it is loaded: nothing stays that could be out of date.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    if compiler is None or os.name != "posix":
        return None
    source = Path(__file__).with_name("sums.c")
    with tempfile.TemporaryDirectory(prefix="foad-", ignore_cleanup_errors=True) as folder:
        for extras in _EXTRAS:
            made = Path(folder) / "sums.so"
            command = [compiler, *_FLAGS, *extras, str(source), "-o", str(made), "-lm"]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
                found = ctypes.CDLL(str(made))
            except (OSError, subprocess.SubprocessError):
                continue
            found.foad_add_products.argtypes = [
                *(_POINTER, _POINTER, _SIZE, _POINTER),
                *([_SIZE] * 7),
                *(_FLOAT, _POINTER, _INT),
            ]
            found.foad_add_differences.argtypes = [_POINTER, *([_SIZE] * 6), _POINTER, _INT]
            found.foad_add_products.restype = found.foad_add_differences.restype = None
            return found
    return None


def add_products(products: Tensor, theirs: Tensor, norms: Tensor, near: float, packed: Tensor, top: int) -> None:
    """As :func:`~foad_plugins.triton_sums.add_products`, of one panel: R is at most 64."""
    images, columns, rows = products.shape
    _library().foad_add_products(
        products.data_ptr(),
        norms.data_ptr(),
        norms.stride(0),
        theirs.data_ptr(),
        *theirs.stride(),
        images,
        columns,
        rows,
        theirs.shape[2],
        near,
        tile(packed, top, top + columns).data_ptr(),
        torch.get_num_threads(),
    )


def add_differences(theirs: Tensor, sums: Tensor) -> None:
    """Add up similarities by direct differences.

    Args:
        theirs: (n, L, K) float32 with unit stride along K, the maps of a panel and of all channels behind it.
        sums: (K * R,) float64, to which the similarities are added; R is 64, or K where that is less.
    """
    images, positions, columns = theirs.shape
    _library().foad_add_differences(
        theirs.data_ptr(),
        theirs.stride(0),
        theirs.stride(1),
        images,
        columns,
        len(sums) // columns,
        positions,
        sums.data_ptr(),
        torch.get_num_threads(),
    )


def _library() -> ctypes.CDLL:
    found = library()
    if found is None:
        raise RuntimeError("there is no C compiler that made the sums")
    return found
