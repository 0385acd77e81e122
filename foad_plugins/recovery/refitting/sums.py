"""Additions of two tensors, found while a network runs: an addition calls no module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["TensorOperations", "is_addition"]

_IN_PLACE = {torch.Tensor.add_, torch.Tensor.__iadd__}
_ADDITIONS = {torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, *_IN_PLACE}


def is_addition(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call adds two different tensors of one shape."""
    return (
        function in _ADDITIONS
        and len(args) == 2
        and not kwargs
        and isinstance(args[0], Tensor)
        and isinstance(args[1], Tensor)
        and args[0] is not args[1]
        and args[0].shape == args[1].shape
    )


class TensorOperations(TorchFunctionMode):
    """Shows additions before they are done, and every other use of tensors after it.

    Args:
        on_sum: called with the two operands of an addition, and whether the first one holds the sum afterwards.
        on_use: called with the arguments of any other function of torch that returns tensors, and what it returned.
    """

    def __init__(
        self,
        on_sum: Callable[[Tensor, Tensor, bool], None],
        on_use: Callable[[tuple[Any, ...], dict[str, Any], Any], None] | None = None,
    ) -> None:
        super().__init__()
        self._on_sum = on_sum
        self._on_use = on_use

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, and show it."""
        kwargs = kwargs or {}
        if is_addition(func, args, kwargs):
            self._on_sum(args[0], args[1], func in _IN_PLACE)
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if self._on_use is not None and isinstance(result, (Tensor, tuple, list)):
            self._on_use(args, kwargs, result)
        return result
