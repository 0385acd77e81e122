"""Tensors and a JSON value in one safetensors file that shows whether anything in it has changed since."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ...utils.files import write_atomically

__all__ = ["CheckpointError", "read_checkpoint", "write_sealed"]

FORMAT = "foad-plugins pruned model"
VERSION = 1

_KEY = "foad_plugins"
_EMPTY_DIGEST = "0" * 64
# A pickle of protocol 2 or later says so in its first two bytes; torch.save puts one into a zip file.
_PICKLE = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
_FIELDS = ("format", "version", "sha256", "content")


class CheckpointError(ValueError):
    """A model that cannot be saved, or a file that cannot be loaded; the message says why."""


def write_sealed(path: Path, tensors: Mapping[str, Tensor], content: Any) -> None:
    """Write tensors and a JSON value to ``path`` in one step.

    The value lies in the header, under ``__metadata__``, with the format's name and version and a SHA-256 over every
    byte of the file, the 64 characters of the hash itself taken as zeros. The same contents give the same file.

    Args:
        path: the file; one that is there is replaced.
        tensors: by name; dense, contiguous, on the CPU and without shared memory.
        content: what ``json.dumps`` takes.

    Raises:
        CheckpointError: safetensors cannot hold one of the tensors.
        OSError: the folder is missing, or the file cannot be written. Nothing is left behind.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} to write {path.name!r} to")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: name a file")
    fields = {"format": FORMAT, "version": VERSION, "sha256": _EMPTY_DIGEST, "content": content}
    text = json.dumps(fields, separators=(",", ":"), allow_nan=False)
    try:
        data = bytearray(safetensors.torch.save(dict(tensors), {_KEY: text}))
    except (ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"safetensors cannot hold the model's tensors: {error}") from error
    at = data.index(_EMPTY_DIGEST.encode(), data.index(b"sha256"))
    data[at : at + len(_EMPTY_DIGEST)] = hashlib.sha256(data).hexdigest().encode()
    try:
        write_atomically(path, bytes(data))
    except OSError as error:
        raise OSError(error.errno, f"{str(path)!r} cannot be written: {os.strerror(error.errno or 0)}") from error


def read_checkpoint(path: Path) -> tuple[Any, dict[str, Tensor]]:
    """Read a file that :func:`write_sealed` wrote.

    Returns:
        The JSON value, and the tensors by name, on the CPU.

    Raises:
        CheckpointError: truncated, edited, of a newer version, or never such a file; nothing in it has been used.
        FileNotFoundError: there is no file.
    """
    if path.is_dir():
        raise CheckpointError(f"{str(path)!r} is a folder, not a file")
    data = path.read_bytes()
    fields = _fields(path, data)
    seal = fields["sha256"]
    if not isinstance(seal, str) or len(seal) != len(_EMPTY_DIGEST) or data.count(seal.encode()) != 1:
        raise _edited(path)
    if hashlib.sha256(data.replace(seal.encode(), _EMPTY_DIGEST.encode())).hexdigest() != seal:
        raise _edited(path)
    try:
        return fields["content"], safetensors.torch.load(data)
    except Exception as error:
        raise CheckpointError(f"{str(path)!r} holds tensors that cannot be read: {error}") from error


def _fields(path: Path, data: bytes) -> dict[str, Any]:
    """What the header says in our part of it."""
    if not data:
        raise CheckpointError(f"{str(path)!r} is empty")
    header = _header(data)
    if header is None:
        raise _no_safetensors(path, data)
    metadata = header.get("__metadata__")
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise CheckpointError(
            f"{str(path)!r} is a safetensors file, but none that save_pruned wrote: it does not say how the network "
            "was pruned"
        )
    fields = _parse(text)
    if fields is None or fields.get("format") != FORMAT:
        raise _edited(path)
    version = fields.get("version")
    if type(version) is not int:
        raise _edited(path)
    if version > VERSION:
        raise CheckpointError(
            f"{str(path)!r} has format version {version}, and this version of foad-plugins reads up to {VERSION}: "
            "install a newer one"
        )
    if version != VERSION or sorted(fields) != sorted(_FIELDS):
        raise _edited(path)
    return fields


def _header(data: bytes) -> dict[str, Any] | None:
    end = 8 + int.from_bytes(data[:8], "little")
    return _parse(data[8:end]) if 8 < end <= len(data) else None


def _parse(text: str | bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _edited(path: Path) -> CheckpointError:
    return CheckpointError(f"{str(path)!r} is not what was saved: it has been edited, or is damaged")


def _no_safetensors(path: Path, data: bytes) -> CheckpointError:
    if data.startswith(_PICKLE):
        return CheckpointError(
            f"{str(path)!r} is a pickle, or a zip file such as torch.save writes around one. A pickle can run any code "
            "when it is loaded and is not read here. To convert it, load it where you trust it with torch.load(..., "
            "weights_only=True) and save the tensors with safetensors.torch.save_file; to have a file that load_pruned "
            "takes, save the pruned model itself with save_pruned"
        )
    if data[8:9] == b"{":
        return CheckpointError(f"{str(path)!r} is truncated or damaged")
    return CheckpointError(f"{str(path)!r} is no safetensors file")
