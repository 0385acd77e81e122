"""What pruning removed from a network, step by step, so that it can be removed again from a fresh one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ..batches import Call
from .signature import Signature, dtype_name, signature_of

__all__ = ["PruningHistory", "Removal", "TensorSpec", "attach", "describe", "history_of", "remember", "shapes"]

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
