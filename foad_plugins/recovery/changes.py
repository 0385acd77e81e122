"""Writing into tensors of a model so that all of it can be undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Changes", "undone_on_error"]


class Changes:
    """Writes into tensors, and holds what they held before."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def write(self, tensor: Tensor, value: Tensor) -> None:
        """Write a value of the tensor's shape into it."""
        self._before.setdefault(id(tensor), (tensor, tensor.detach().clone()))
        tensor.copy_(value)

    def values(self) -> list[tuple[Tensor, Tensor]]:
        """The tensors that were written, with what they hold now."""
        return [(tensor, tensor.detach().clone()) for tensor, _ in self._before.values()]

    @torch.no_grad()
    def undo(self) -> None:
        """Write back what the tensors held at first."""
        for tensor, value in self._before.values():
            tensor.copy_(value)


@contextmanager
def undone_on_error() -> Iterator[Changes]:
    """Undo every write, bit for bit, if anything raises inside."""
    changes = Changes()
    try:
        yield changes
    except BaseException:
        changes.undo()
        raise
