"""Modules that give features a shape of maps, after some of the features were removed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from ...utils.layers import first_input

__all__ = ["adapted_unflatten"]


@contextmanager
def adapted_unflatten(model: nn.Module) -> Iterator[None]:
    """Inside, a call of the model sets the channels of ``nn.Unflatten`` to those that its input has.

    Args:
        model: changed by a call inside, where features were removed before an ``nn.Unflatten`` of another size.
    """
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.Unflatten):
                stack.callback(module.register_forward_pre_hook(_adapt, with_kwargs=True).remove)
        yield


def _adapt(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert isinstance(module, nn.Unflatten)
    sizes, features = module.unflattened_size, first_input(args, kwargs)
    if not isinstance(sizes, tuple) or not all(type(size) is int and size > 0 for size in sizes):
        # Named dimensions, or a size that follows from the input.
        return
    width, block = features.shape[module.dim], math.prod(sizes[1:])
    if width != math.prod(sizes) and width % block == 0:
        module.unflattened_size = (width // block, *sizes[1:])
