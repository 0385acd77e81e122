"""Calibration images in two parts: one to fit on, one to measure on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .data import Call, iter_calls

__all__ = ["FitPart", "check_two_parts", "measured_part"]

EVERY = 4
"""One image in this many is measured on."""

_SINGLE = (
    "data holds a single image (or a single batch whose tensors differ in length): the loss is measured on other "
    "images than the reconstruction is fitted on, so give at least two"
)


class FitPart:
    """The images to fit on, as an iterable of calls that reads the data again each time.

    Args:
        data: as for :func:`~foad_plugins.calibration.data.iter_calls`; readable more than once.
        device: where to move tensors; None leaves them.
        max_batches: use this many batches at most; None uses all.
    """

    def __init__(self, data: Any, device: torch.device | None = None, max_batches: int | None = None) -> None:
        self._arguments = data, device, max_batches

    def __iter__(self) -> Iterator[Call]:
        return (call for call, measured in _parts(*self._arguments) if not measured)


def measured_part(data: Any, device: torch.device | None = None, max_batches: int | None = None) -> list[Call]:
    """The calls to measure on, held in memory: every fourth image, and every fourth batch where batches have no
    common number of images.

    Args:
        data: as for :func:`~foad_plugins.calibration.data.iter_calls`; readable more than once.
        device: where to move tensors; None leaves them.
        max_batches: use this many batches at most; None uses all.

    Returns:
        The calls, a form of data in itself.

    Raises:
        ValueError: there is one image only, or one batch that cannot be divided.
    """
    measured = [part for part, is_measured in _parts(data, device, max_batches) if is_measured]
    if not measured:
        raise ValueError(_SINGLE)
    return measured


def check_two_parts(data: Any, max_batches: int | None = None) -> None:
    """Refuse data that cannot be divided, by reading as little of it as possible.

    Raises:
        ValueError: as :func:`measured_part`.
    """
    if not any(measured for _, measured in _parts(data, None, max_batches)):
        raise ValueError(_SINGLE)


def _parts(data: Any, device: torch.device | None, max_batches: int | None) -> Iterator[tuple[Call, bool]]:
    """Parts of batches, and whether each is measured on."""
    seen = 0
    for call in iter_calls(data, device, max_batches):
        images = _images(call)
        if images is None:
            yield call, seen % EVERY == 1
            seen += 1
            continue
        numbers = torch.arange(seen, seen + images)
        seen += images
        for measured in (False, True):
            chosen = ((numbers % EVERY == 1) == measured).nonzero().flatten()
            if len(chosen):
                args, batch, kwargs = (_cut(value, chosen, images) for value in (call.args, call.batch, call.kwargs))
                yield Call(args, batch, kwargs), measured


def _images(call: Call) -> int | None:
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor)]
    lengths = {len(tensor) for tensor in tensors if tensor.dim()}
    return lengths.pop() if len(lengths) == 1 and all(tensor.dim() for tensor in tensors) else None


def _cut(value: Any, chosen: Tensor, images: int) -> Any:
    if isinstance(value, Tensor):
        return value[chosen.to(value.device)] if value.dim() and len(value) == images else value
    if isinstance(value, Mapping):
        return {name: _cut(part, chosen, images) for name, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_cut(part, chosen, images) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_cut(part, chosen, images) for part in value)
    return value
