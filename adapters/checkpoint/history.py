"""What pruning removed from a network, step by step, so that it can be removed again from a fresh one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ...calibration.data import Call

__all__ = [
    "PruningHistory",
    "Removal",
    "Signature",
    "TensorSpec",
    "attach",
    "describe",
    "dtype_name",
    "history_of",
    "remember",
    "shapes",
    "signature_of",
]

# A plain attribute of the module: deepcopy and fine-tuning keep it, and no state dict has it.
_ATTRIBUTE = "_foad_history"
_T = TypeVar("_T")


@dataclass(frozen=True)
class TensorSpec:
    """A parameter or persistent buffer without its values.

    Attributes:
        name: in the state dict.
        shape: its sizes.
        dtype: as text, such as ``"float32"``.

    Raises:
        ValueError: a field of another type, or an unknown dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(f"a tensor's name must be text, got {self.name!r}")
        _check_numbers(f"the shape of {self.name!r}", self.shape)
        if not isinstance(self.dtype, str) or not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ValueError(f"{self.name!r} has the dtype {self.dtype!r}, which torch does not know")


@dataclass(frozen=True)
class Removal:
    """Channels removed from one coupled group.

    Attributes:
        layer: dotted name of the group's root.
        side: whether ``channels`` counts the root's output or its input channels.
        channels: their indices as they stand just before.

    Raises:
        ValueError: a field of another type, or an index that is negative or there twice.
    """

    layer: str
    side: Literal["out", "in"]
    channels: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.layer, str):
            raise ValueError(f"a removal's layer must be a name, got {self.layer!r}")
        if self.side not in ("out", "in"):
            raise ValueError(f"a removal's side must be 'out' or 'in', got {self.side!r}")
        _check_numbers(f"the channels removed at {self.layer!r}", self.channels)
        if len(set(self.channels)) < len(self.channels):
            raise ValueError(f"channels are removed twice at {self.layer!r}")


@dataclass(frozen=True)
class PruningHistory:
    """How a pruned network came from the one it was.

    Attributes:
        original: every parameter and persistent buffer before any pruning.
        pruned: the same after the last step.
        example: the form of the inputs that the network is traced with.
        steps: each begins with a freshly traced graph; its removals happen one after another on it.
    """

    original: tuple[TensorSpec, ...]
    pruned: tuple[TensorSpec, ...]
    example: Signature
    steps: tuple[tuple[Removal, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> PruningHistory:
        """The history in a JSON value.

        Raises:
            ValueError: anything but what :meth:`to_json` gives.
        """
        parts = _fields(value, cls)
        return cls(
            _each(parts["original"], lambda part: TensorSpec(**_tupled(_fields(part, TensorSpec)))),
            _each(parts["pruned"], lambda part: TensorSpec(**_tupled(_fields(part, TensorSpec)))),
            Signature(**_fields(parts["example"], Signature)),
            _each(parts["steps"], lambda step: _each(step, lambda part: Removal(**_tupled(_fields(part, Removal))))),
        )


def describe(model: nn.Module) -> tuple[TensorSpec, ...]:
    """Every parameter and persistent buffer of a model; take it before pruning, and after the model has run once."""
    return tuple(
        TensorSpec(name, tuple(tensor.shape), dtype_name(tensor.dtype))
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)
    )


def remember(model: nn.Module, original: tuple[TensorSpec, ...], call: Call, removals: Iterable[Removal]) -> None:
    """Note on a model one more step of its pruning, once the step is over.

    The first ``original`` and ``call`` are kept. If something else has changed shapes since the last step, the step is
    not noted: the history then no longer leads to this model, which :func:`~foad_plugins.save_pruned` says.

    Args:
        model: the model as it is now.
        original: :func:`describe` of it before this step.
        call: what its graph was traced with.
        removals: in their order.
    """
    step = tuple(removals)
    earlier = history_of(model)
    if earlier is None:
        history = PruningHistory(original, describe(model), signature_of(call), (step,) if step else ())
    elif shapes(earlier.pruned) != shapes(original) or not step:
        return
    else:
        history = PruningHistory(earlier.original, describe(model), earlier.example, (*earlier.steps, step))
    attach(model, history)


def attach(model: nn.Module, history: PruningHistory) -> None:
    """Note a whole history on a model, in place of one that is there."""
    setattr(model, _ATTRIBUTE, history)


def history_of(model: nn.Module) -> PruningHistory | None:
    """How the model was pruned, None if nothing was noted."""
    history = getattr(model, _ATTRIBUTE, None)
    return history if isinstance(history, PruningHistory) else None


def shapes(specs: Iterable[TensorSpec]) -> dict[str, tuple[int, ...]]:
    """Shapes by name."""
    return {spec.name: spec.shape for spec in specs}


def _check_numbers(what: str, numbers: Any) -> None:
    if not isinstance(numbers, tuple) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"{what} must be whole numbers, 0 or more, got {numbers!r:.80}")


def _fields(value: Any, kind: type[Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    if not isinstance(value, dict) or set(value) != names:
        found = sorted(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"a {kind.__name__} has {sorted(names)}, got {found}")
    return value


def _tupled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _each(values: Any, make: Callable[[Any], _T]) -> tuple[_T, ...]:
    # In memory they are tuples, and lists once they have been JSON.
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"expected a list, got {type(values).__name__}")
    return tuple(map(make, values))


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
    return Signature(_describe(tuple(call.args)), _describe(dict(call.kwargs)), _describe(call.batch))


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
