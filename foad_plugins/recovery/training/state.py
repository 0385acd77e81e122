"""The state of a training in a file, from which it can be resumed."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from ...utils.files import write_atomically

__all__ = ["load_state", "save_state"]

_FORMAT: Final = "foad-plugins recovery 1"


def save_state(path: Path, settings: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the state of a training; a crash at any moment leaves the previous file or the new one.

    Args:
        path: of the file; folders are made as needed.
        settings: what decides the training, as plain values.
        state: tensors and plain values.
    """
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, "settings": dict(settings), "state": dict(state)}, buffer)
    write_atomically(path, buffer.getvalue())


def load_state(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state in a file, on the CPU; None where there is no file.

    Args:
        path: of the file.
        settings: those of the present training.

    Raises:
        ValueError: the file is damaged, is no such file, or belongs to a training with other settings.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint: {str(path)!r} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"checkpoint: {str(path)!r} is not the state of a recovery that this version can read")
    there = content["settings"]
    for name in dict.fromkeys([*settings, *there]):
        if settings.get(name) != there.get(name):
            raise ValueError(
                f"checkpoint: {str(path)!r} belongs to another training: {name} was {_short(there.get(name))} and is "
                f"{_short(settings.get(name))} now; delete the file or give another path"
            )
    return dict(content["state"])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
