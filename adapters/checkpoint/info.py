"""What the file of a pruned model holds, from its header alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.text import printable_lines
from .file import read_header

__all__ = ["CheckpointInfo", "checkpoint_info"]

_SIDES = (("in_channels", "out_channels"), ("in_features", "out_features"), ("input_size", "hidden_size"))


@dataclass(frozen=True)
class CheckpointInfo:
    """What a file of :func:`~foad_plugins.save_pruned` holds.

    Attributes:
        layers: name, input width and output width of each convolution, linear and recurrent layer.
        parameters: number of trained values.
        dtypes: of the tensors, in safetensors' words such as ``"F32"``.
        bytes: size of the tensors.
        versions: of the packages that wrote the file.
    """

    layers: tuple[tuple[str, int, int], ...]
    parameters: int
    dtypes: tuple[str, ...]
    bytes: int
    versions: dict[str, str]

    def __str__(self) -> str:
        width = max((len(name) for name, _, _ in self.layers), default=0)
        rows = [f"{name:{width}}  {into:>6} -> {out}" for name, into, out in self.layers]
        written = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        total = f"{self.parameters:,} parameters, {self.bytes / 1e6:,.1f} MB of {', '.join(self.dtypes)}"
        return printable_lines([*rows, total, f"written with {written}"])


def checkpoint_info(path: str | os.PathLike[str]) -> CheckpointInfo:
    """Describe a file of :func:`~foad_plugins.save_pruned` without reading its weights.

    Raises:
        CheckpointError: it is no such file.
        OSError: there is no file, or it cannot be opened.
    """
    content, entries = read_header(Path(path))
    layers = [
        (_printable(name), values[into], values[out])
        for name, values in _mapping(content, "attributes").items()
        for into, out in _SIDES
        if isinstance(values, dict) and type(values.get(into)) is int and type(values.get(out)) is int
    ]
    tensors = [entry for entry in entries.values() if isinstance(entry, dict)]
    parameters = content.get("parameters") if isinstance(content, dict) else None
    return CheckpointInfo(
        tuple(layers),
        parameters if type(parameters) is int else 0,
        tuple(sorted({_printable(entry.get("dtype")) for entry in tensors})),
        max((end for entry in tensors if type(end := (entry.get("data_offsets") or [0])[-1]) is int), default=0),
        {_printable(name): _printable(version) for name, version in _mapping(content, "versions").items()},
    )


def _mapping(content: Any, key: str) -> dict[str, Any]:
    value = content.get(key) if isinstance(content, dict) else None
    return value if isinstance(value, dict) else {}


def _printable(value: Any) -> str:
    return str(value)[:100].encode("unicode_escape").decode()
