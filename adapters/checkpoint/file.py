"""One safetensors file: tensors, a JSON value in its header, and a SHA-256 over both."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
from torch import Tensor

from ...utils.files import NotRegularFileError, open_regular, write_atomically

__all__ = ["CheckpointError", "encode", "read_checkpoint", "read_header", "write_checkpoint"]

FORMAT = "foad-plugins pruned model"
VERSION = 2

_KEY, _DIGEST = "foad_plugins", "sha256"
# Bounds the time for parsing a file of a stranger; networks of ten thousand layers need a quarter of it.
_MAX_HEADER = 16 * 2**20
# A pickle of protocol 2 or later starts with two such bytes; torch.save puts one into a zip file.
_PICKLE = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
_MAX_MESSAGE = 200


class CheckpointError(ValueError):
    """A model that cannot be saved, or a file that cannot be loaded; the message has at most 200 characters."""

    def __init__(self, message: str) -> None:
        super().__init__(message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 3]}...")


def encode(tensors: Mapping[str, Tensor], content: Any) -> bytes:
    """The bytes of a file with these contents; equal contents give equal bytes.

    Args:
        tensors: by name; dense, contiguous, on the CPU and without shared memory.
        content: what ``json.dumps`` takes.

    Raises:
        CheckpointError: safetensors cannot hold one of the tensors, or there are too many names.
    """
    try:
        plain = safetensors.torch.save(dict(tensors))
    except (ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"safetensors cannot hold the model's tensors: {error}") from error
    end = 8 + int.from_bytes(plain[:8], "little")
    entries, data = json.loads(plain[8:end]), memoryview(plain)[end:]
    fields = {"format": FORMAT, "version": VERSION, "content": content}
    text = json.dumps(fields, separators=(",", ":"), allow_nan=False)
    metadata = {_KEY: text, _DIGEST: _digest(text, entries, data)}
    header = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > _MAX_HEADER:
        raise CheckpointError(f"the model's names and sizes take {len(header):,} bytes; {_MAX_HEADER:,} are allowed")
    return b"".join((len(header).to_bytes(8, "little"), header, data))


def write_checkpoint(path: Path, data: bytes) -> None:
    """Write the bytes that :func:`encode` gives, in one step; a symbolic link is written through to its target.

    Raises:
        OSError: the folder is missing, ``path`` exists and is no regular file, or the file cannot be written. A file
            that was there before is unchanged.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} to write {path.name!r} to")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: name a file")
    try:
        write_atomically(path, data)
    except OSError as error:
        raise OSError(error.errno, f"{str(path)!r} cannot be written: {error.strerror or error}") from error


def read_checkpoint(path: Path, max_bytes: int) -> tuple[Any, dict[str, Tensor]]:
    """Read a file of :func:`write_checkpoint`.

    Args:
        path: a regular file, or a link to one.
        max_bytes: a file with more bytes of tensors is refused before they are read.

    Returns:
        The JSON value, and the tensors by name, on the CPU.

    Raises:
        CheckpointError: truncated, edited, too large, of another version, or never such a file.
        OSError: there is no file, or it cannot be opened.
    """
    with _open(path) as stream:
        header, entries, text, expected = _read_header(path, stream)
        size = os.fstat(stream.fileno()).st_size - len(header)
        if size > max_bytes:
            raise _error(path, f"has {size:,} bytes of weights; the network can take {max_bytes:,} at most")
        data = stream.read(size)
    if _digest(text, entries, data) != expected:
        raise _error(path, "has been edited, or is truncated or damaged")
    try:
        return _content(path, text), safetensors.torch.load(header + data)
    except CheckpointError:
        raise
    except Exception as error:
        raise _error(path, f"holds tensors that cannot be read: {error}") from error


def read_header(path: Path) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The JSON value of a file, and ``dtype``, ``shape`` and ``data_offsets`` of its tensors; no digest is checked.

    Raises:
        CheckpointError: not a file of :func:`write_checkpoint`, or of another version.
        OSError: there is no file, or it cannot be opened.
    """
    with _open(path) as stream:
        _, entries, text, _ = _read_header(path, stream)
    return _content(path, text), entries


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except NotRegularFileError as error:
        raise _error(path, "is not a regular file") from error


def _read_header(path: Path, stream: BinaryIO) -> tuple[bytes, dict[str, Any], str, str]:
    """The header as bytes, with its length in front; its tensors; our text in it; and the digest expected."""
    start, size = stream.read(9), os.fstat(stream.fileno()).st_size
    length = int.from_bytes(start[:8], "little")
    if start[8:] != b"{" or not 2 <= length <= _MAX_HEADER:
        # The length of a header may have the first bytes of a pickle.
        if start.startswith(_PICKLE):
            raise _error(path, "is a pickle, which can run code and is not read; use save_pruned")
        raise _error(path, "is not a safetensors file" if size else "is empty")
    if 8 + length > size:
        raise _error(path, "is truncated")
    header = start + stream.read(length - 1)
    entries = _parse(header[8:])
    metadata = entries.pop("__metadata__", None) if entries is not None else None
    if entries is None:
        raise _error(path, "is not a safetensors file, or is damaged")
    if not isinstance(metadata, dict) or sorted(metadata) != [_KEY, _DIGEST]:
        raise _error(path, "is not a file of save_pruned (version 2), or is damaged")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise _error(path, "has been edited, or is damaged")
    return header, entries, metadata[_KEY], metadata[_DIGEST]


def _content(path: Path, text: str) -> Any:
    fields = _parse(text)
    if fields is None or sorted(fields) != ["content", "format", "version"] or fields["format"] != FORMAT:
        raise _error(path, "has been edited, or is damaged")
    if type(fields["version"]) is not int or fields["version"] != VERSION:
        raise _error(path, f"has format version {fields['version']!r:.20}; this foad-plugins reads version {VERSION}")
    return fields["content"]


def _parse(text: str | bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _digest(text: str, entries: Mapping[str, Any], data: bytes | memoryview) -> str:
    digest = hashlib.sha256(json.dumps([text, entries], sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()


def _error(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{(path.name or str(path))[-60:]!r} {what}")
