"""The form of a model's inputs without their data, and inputs of that form made again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..batches import Call

__all__ = ["Signature", "dtype_name", "signature_of"]


@dataclass(frozen=True)
class Signature:
    """The form of one call: trees of JSON values, in which a tensor is its dtype and shape.

    A node is ``{"tensor": dtype, "shape": [...]}``, ``{"list": [...]}``, ``{"tuple": [...]}``,
    ``{"dict": {name: node}}``, ``{"value": a number, text, true, false or null}``, or ``{"other": class name}`` for
    what cannot be made again.

    Attributes:
        args: node of the positional arguments, a tuple.
        kwargs: node of the keyword arguments, a dict.
        item: node of the batch that a ``forward_fn`` receives.

    Raises:
        ValueError: a node of another form.
    """

    args: dict[str, Any]
    kwargs: dict[str, Any]
    item: dict[str, Any]

    def __post_init__(self) -> None:
        for node in (self.args, self.kwargs, self.item):
            _check(node)
        if "tuple" not in self.args or "dict" not in self.kwargs:
            raise ValueError("the inputs must be a tuple of positional and a dict of keyword arguments")

    def make(
        self, device: torch.device | None, *, item: bool, dtypes: Mapping[torch.dtype, torch.dtype] | None = None
    ) -> Call:
        """A call of this form: floating-point tensors drawn from [0, 1), always the same; all others zero.

        Args:
            device: where the tensors shall be; None for the CPU.
            item: make the batch for a ``forward_fn`` instead of the arguments.
            dtypes: floating-point tensors of the one dtype get the other.

        Raises:
            ValueError: something in it cannot be made again.
        """
        generator = torch.Generator().manual_seed(0)

        def tensor(name: str, shape: list[int]) -> Tensor:
            dtype = getattr(torch, name)
            if not (dtype.is_floating_point or dtype.is_complex):
                return torch.zeros(shape, dtype=dtype, device=device)
            return torch.rand(shape, generator=generator).to(device, (dtypes or {}).get(dtype, dtype))

        if item:
            return Call((), _make(self.item, tensor))
        return Call(_make(self.args, tensor), None, _make(self.kwargs, tensor))


def signature_of(call: Call) -> Signature:
    """The form of a call."""
    return Signature(_describe(tuple(call.args)), _describe(dict(call.kwargs)), _describe(call.item))


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as text, such as ``"float32"``."""
    return str(dtype).removeprefix("torch.")


def _describe(value: Any) -> dict[str, Any]:
    if isinstance(value, Tensor):
        return {"tensor": dtype_name(value.dtype), "shape": list(value.shape)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _describe(part) for key, part in value.items()}}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_describe(part) for part in value]}
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return {"value": value}
    return {"other": type(value).__name__}


def _check(node: Any) -> None:
    match node:
        case {"tensor": str(name), "shape": list(shape)} if len(node) == 2:
            if not isinstance(getattr(torch, name, None), torch.dtype):
                raise ValueError(f"an input has the dtype {name!r}, which torch does not know")
            if not all(type(size) is int and size >= 0 for size in shape):
                raise ValueError(f"an input has the shape {shape!r}")
        case {"list": list(parts)} | {"tuple": list(parts)} if len(node) == 1:
            for part in parts:
                _check(part)
        case {"dict": dict(named)} if len(node) == 1:
            for key, part in named.items():
                if not isinstance(key, str):
                    raise ValueError(f"an input has the name {key!r}")
                _check(part)
        case {"value": None | bool() | int() | float() | str()} | {"other": str()} if len(node) == 1:
            pass
        case _:
            raise ValueError(f"{node!r:.80} is no input's form")


def _make(node: dict[str, Any], tensor: Callable[[str, list[int]], Tensor]) -> Any:
    match node:
        case {"tensor": name, "shape": shape}:
            return tensor(name, shape)
        case {"list": parts}:
            return [_make(part, tensor) for part in parts]
        case {"tuple": parts}:
            return tuple(_make(part, tensor) for part in parts)
        case {"dict": named}:
            return {key: _make(part, tensor) for key, part in named.items()}
        case {"value": value}:
            return value
        case _:
            raise ValueError(f"its inputs hold a {node['other']}, which cannot be made again: pass example_inputs")
