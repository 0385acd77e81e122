"""State dicts in files of safetensors and of ``torch.save``; nothing in a file is ever run."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .files import open_regular
from .text import enumerate_some

__all__ = ["StateFile", "StateFileError", "read_state_file"]

_ENTRIES = ("state_dict", "model_state_dict", "model", "ema")
_DEPTH = 3
# torch.save writes a zip file, or in its old form a pickle, whose first two bytes are its protocol.
_PICKLES = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
_LONGEST_REASON = 200
_CONVERT = (
    "import torch; found = torch.load({source!r}, map_location='cpu', weights_only=False); "
    "found = next((found[key] for key in {entries!r} if key in found), found) if isinstance(found, dict) else found; "
    "torch.save(found if isinstance(found, dict) else found.state_dict(), {target!r})"
)


class StateFileError(ValueError):
    """A file without a state dict that can be read safely, or with one that does not fit the network."""


@dataclass(frozen=True)
class StateFile:
    """A state dict and what else was in its file.

    Attributes:
        tensors: by name.
        metadata: of a safetensors file; empty for others.
        source: the path, with the place of the state dict in the file, as ``"checkpoint['ema'] in x.pt"``.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    source: str


def read_state_file(path: Path) -> StateFile:
    """Read a safetensors file, or a file of ``torch.save`` by ``torch.load(weights_only=True)``.

    Of a training checkpoint, the first of the entries ``state_dict``, ``model_state_dict``, ``model`` and ``ema``
    is used that is a state dict or holds one.

    Raises:
        StateFileError: neither form, damaged, a pickled object that is no state dict, or tensors that no network can
            have as its weights (sparse, quantized, or without data).
        OSError: no regular file, or it cannot be opened.
    """
    with open_regular(path) as stream:
        start = stream.read(4)
        if start.startswith(_PICKLES):
            stream.seek(0)
            return _from_pickle(path, stream)
    return _from_safetensors(path)


def _from_safetensors(path: Path) -> StateFile:
    import safetensors

    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return StateFile(tensors, metadata, str(path))
    except (OSError, MemoryError):
        raise
    except Exception as error:
        reason = str(error)[:_LONGEST_REASON]
        raise StateFileError(
            f"{str(path)!r} is no complete safetensors file and no file of torch.save: {reason}"
        ) from error


def _from_pickle(path: Path, stream: Any) -> StateFile:
    try:
        with warnings.catch_warnings():
            # Sparse tensors, which are refused below, make torch warn about the time of their checks.
            warnings.simplefilter("ignore")
            found = torch.load(stream, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    # A damaged or forged pickle may end in any error.
    except Exception as error:
        target = path.with_name(f"{path.stem}-state.pt")
        command = shlex.quote(_CONVERT.format(source=str(path), target=str(target), entries=_ENTRIES))
        reason = str(error).replace("\n", " ")[:_LONGEST_REASON]
        raise StateFileError(
            f"{str(path)!r} is damaged, or holds more than tensors, such as a whole pickled model. Opening it can run "
            f"any code, so it is not read. If you trust it, write its state dict: python -c {command} (torch: {reason})"
        ) from error
    state = next(_state_dicts(found, "checkpoint", _DEPTH), None)
    if state is None:
        kind = (
            f"a dict of {enumerate_some(map(repr, found), 4)}" if isinstance(found, Mapping) else type(found).__name__
        )
        raise StateFileError(f"{str(path)!r} holds no state dict (entries {', '.join(_ENTRIES)}): it is {kind[:200]}")
    entry, tensors = state
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise StateFileError(f"{str(path)!r}: {name!r} is sparse, quantized or without data, and cannot be used")
    return StateFile(tensors, {}, str(path) if entry == "checkpoint" else f"{entry} in {path}")


def _state_dicts(value: Any, place: str, depth: int) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    if not isinstance(value, Mapping) or not value:
        return
    if all(isinstance(name, str) and isinstance(part, Tensor) for name, part in value.items()):
        yield place, value
    elif depth > 0:
        for name in _ENTRIES:
            yield from _state_dicts(value.get(name), f"{place}[{name!r}]", depth - 1)
