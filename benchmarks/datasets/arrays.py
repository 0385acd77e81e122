"""Single arrays out of npz files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_array"]

_BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def read_array(path: Path, key: str) -> np.ndarray[Any, Any]:
    """The array of that name in an npz file; nothing is unpickled.

    Raises:
        ValueError: if it is no npz file, or holds no such array.
    """
    try:
        # Opened here, because numpy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file) as arrays:
            if key not in arrays.files:
                raise KeyError(f"{path} holds no array {key!r} (it holds: {', '.join(arrays.files) or 'none'})")
            array: np.ndarray[Any, Any] = arrays[key]
            return array
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    except (*_BROKEN, AttributeError, TypeError) as error:
        # A lone array, which an npy file holds, is no context manager.
        raise ValueError(f"{path} is no readable npz file ({error})") from None
