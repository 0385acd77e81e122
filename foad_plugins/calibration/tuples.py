"""Tuples of batches, as ``images.split(n)`` gives, against tuples of the inputs of one call."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from ..utils.warnings import AmbiguousDataWarning, warn

__all__ = ["tuple_as_batches"]


def tuple_as_batches(model: nn.Module, data: Any) -> Any:
    """The data, as a list if it is a tuple that can only hold batches.

    A tuple is the positional inputs of one call. Several tensors of one type and one size of image that are more than
    the model takes, where the first one alone is enough, can only be batches.

    Args:
        model: the model that runs on the data.
        data: calibration data in any form.

    Returns:
        A list of batches, or the data itself.

    Warns:
        AmbiguousDataWarning: the tuple has the form of batches, and the model takes it as the inputs of one call.
    """
    if not _has_form_of_batches(data):
        return data
    try:
        signature = inspect.signature(getattr(model, "_orig_mod", model).forward)
    except (AttributeError, TypeError, ValueError):
        return data
    if not _fits(signature, data[:1]):
        return data
    if not _fits(signature, data):
        return list(data)
    warn(
        f"data is a tuple of {len(data)} tensors of one form, taken as the inputs of one call, of which the model "
        "needs only the first: give batches as a list, and the inputs of one call as [(inputs, None)]",
        AmbiguousDataWarning,
    )
    return data


def _has_form_of_batches(data: Any) -> bool:
    if type(data) is not tuple or len(data) < 2 or not all(isinstance(part, Tensor) for part in data):
        return False
    first = data[0]
    return first.dim() > 1 and all(part.dtype == first.dtype and part.shape[1:] == first.shape[1:] for part in data)


def _fits(signature: inspect.Signature, inputs: tuple[Any, ...]) -> bool:
    try:
        signature.bind(*inputs)
    except TypeError:
        return False
    return True
