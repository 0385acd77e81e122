"""Calibration data: every accepted form becomes a sequence of calls ``model(*args, **kwargs)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from .tuples import tuple_as_batches

__all__ = [
    "CalibrationData",
    "Call",
    "EmptyDataError",
    "ForwardFn",
    "check_data",
    "first_images",
    "is_iterator",
    "iter_calls",
    "model_device",
    "tensors_in",
]

_FORMS = (
    "a tensor (N, ...), a tuple or dict of model inputs, or an iterable of batches or (batch, label) pairs such as "
    "a DataLoader"
)


ForwardFn = Callable[[nn.Module, Any], Any]


class EmptyDataError(ValueError):
    """Calibration data without a batch."""


@dataclass(frozen=True)
class Call:
    """One call of a model.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        batch: the batch as the data gave it, on the model's device: what a ``forward_fn`` receives.
    """

    args: tuple[Any, ...]
    batch: Any
    kwargs: dict[str, Any] = field(default_factory=dict)

    def run(self, model: nn.Module, forward_fn: ForwardFn | None = None) -> Any:
        """What the model returns: by ``forward_fn(model, batch)`` where there is one."""
        return model(*self.args, **self.kwargs) if forward_fn is None else forward_fn(model, self.batch)


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """Calibration data, and how a model is run over it.

    Attributes:
        data: in a form that :func:`iter_calls` accepts; None where it is given later.
        max_batches: use at most this many batches, at least 1; None uses all.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        progress: show a progress bar.
        distributed: add the sums of all ranks of torch.distributed; all of them must calibrate.

    Raises:
        TypeError: data of another form, ``max_batches`` is no integer, or ``forward_fn`` cannot be called.
        ValueError: ``max_batches`` is below 1.
    """

    data: Any
    max_batches: int | None = None
    forward_fn: ForwardFn | None = None
    progress: bool = False
    distributed: bool = False

    def __post_init__(self) -> None:
        if self.data is not None:
            check_data(self.data)
        if self.forward_fn is not None and not callable(self.forward_fn):
            raise TypeError(f"forward_fn must be callable as forward_fn(model, batch), got {self.forward_fn!r}")
        if self.max_batches is None:
            return
        if isinstance(self.max_batches, bool) or not isinstance(self.max_batches, Integral):
            raise TypeError(f"max_batches must be None or an integer of at least 1, got {self.max_batches!r}")
        if self.max_batches < 1:
            raise ValueError(f"max_batches must be None or at least 1, got {self.max_batches!r}")

    def for_model(self, model: nn.Module) -> CalibrationData:
        """The data as a model takes it: a tuple that can only hold batches becomes a list.

        Warns:
            AmbiguousDataWarning: a tuple that may hold batches.
        """
        return self if self.forward_fn else replace(self, data=tuple_as_batches(model, self.data))

    def calls(self, device: torch.device | None = None) -> Iterator[Call]:
        """One call for each batch, as :func:`iter_calls`."""
        return iter_calls(self.data, device, self.max_batches)

    def first(self, device: torch.device | None = None, images: int | None = None) -> Call:
        """The call of the first batch, cut down to its first images; an iterator loses that batch."""
        call = next(iter_calls(self.data, device, 1))
        return call if images is None else first_images(call, images)

    def peek(self, device: torch.device | None = None) -> tuple[Call, CalibrationData]:
        """The call of the first batch, and the data with that batch still to come."""
        call = self.first(device)
        return call, replace(self, data=chain([call.batch], self.data)) if is_iterator(self.data) else self

    def reusable(self) -> CalibrationData:
        """Data that can be read more than once: the batches of an iterator are kept in a list."""
        return replace(self, data=list(islice(self.data, self.max_batches))) if is_iterator(self.data) else self


def iter_calls(data: Any, device: torch.device | None = None, max_batches: int | None = None) -> Iterator[Call]:
    """Turn calibration data into calls, one a batch, its tensors on the model's device.

    A tensor is one batch; a tuple is the positional and a dict the keyword arguments of one call. Of an iterable, each
    element is a batch: a tensor, a dict of keyword arguments, or a tuple or list whose first element is the input (a
    tensor, or a tuple or dict of several) and whose rest (labels) is not used. An element that is a :class:`Call` is
    used as it is.

    Args:
        data: calibration data in one of these forms.
        device: the device of the tensors; None does not move them.
        max_batches: the largest number of batches; None uses all.

    Yields:
        The calls.

    Raises:
        TypeError: another form.
        ValueError: no batch at all, an empty batch, or a tensor without dimensions.
    """
    check_data(data)
    whole = isinstance(data, (Tensor, tuple, Mapping))
    number = 0
    for item in islice((data,) if whole else data, max_batches):
        yield _as_call(_move(item, device), whole=whole)
        number += 1
    if number == 0:
        raise EmptyDataError(
            "the calibration data gave no batch: the loader is empty, or was read before and gives batches only once"
        )


def check_data(data: Any) -> None:
    """Refuse an object that cannot be calibration data.

    Raises:
        TypeError: ``data`` has none of the accepted forms.
    """
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        raise TypeError("data is a Dataset, which gives single samples: wrap it in torch.utils.data.DataLoader")
    if isinstance(data, (str, bytes)) or (hasattr(data, "__array__") and not isinstance(data, Tensor)):
        raise TypeError(f"data must be {_FORMS}, got {type(data).__name__}")
    if not isinstance(data, (Tensor, Iterable)):
        raise TypeError(f"data must be {_FORMS}, got {type(data).__name__}")


def is_iterator(data: Any) -> bool:
    """Whether the data can be read only once, for example a generator."""
    return isinstance(data, Iterator)


def model_device(model: nn.Module) -> torch.device | None:
    """The device of the model's first parameter or buffer; None for a model without any."""
    for tensor in chain(model.parameters(), model.buffers()):
        return tensor.device
    return None


def first_images(call: Call, count: int = 1) -> Call:
    """The call with its first images only, if all tensors in it have the same number of images."""
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor)]
    if not tensors or any(tensor.dim() == 0 or len(tensor) != len(tensors[0]) for tensor in tensors):
        return call

    def first(value: Any) -> Any:
        return value[:count] if isinstance(value, Tensor) else value

    kwargs = {name: first(value) for name, value in call.kwargs.items()}
    return Call(tuple(first(value) for value in call.args), call.batch, kwargs)


def _as_call(item: Any, *, whole: bool) -> Call:
    if isinstance(item, Call):
        return item
    inputs = item
    if not whole and isinstance(item, (tuple, list)):
        if not item:
            raise ValueError("the calibration data gave an empty tuple instead of a batch")
        inputs = item[0]
    for tensor in tensors_in(inputs):
        if tensor.dim() == 0:
            raise ValueError("the calibration data gave a tensor without a batch dimension (shape ())")
        if len(tensor) == 0:
            raise ValueError(f"the calibration data gave an empty batch: shape {tuple(tensor.shape)}")
    if isinstance(inputs, Tensor):
        return Call((inputs,), item)
    if isinstance(inputs, Mapping):
        return Call((), item, {str(name): value for name, value in inputs.items()})
    if isinstance(inputs, (tuple, list)):
        return Call(tuple(inputs), item)
    raise TypeError(f"data must be {_FORMS}; a batch was a {type(inputs).__name__}")


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in a batch of any accepted form."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)


def _move(value: Any, device: torch.device | None) -> Any:
    if device is None:
        return value
    if isinstance(value, Tensor):
        value = value.to(device, non_blocking=True)
        # Models are traced by autograd, which does not accept tensors made in inference mode.
        return value.clone() if value.is_inference() else value
    if isinstance(value, Mapping):
        return {name: _move(part, device) for name, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_move(part, device) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_move(part, device) for part in value)
    return value
