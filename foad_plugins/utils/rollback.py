"""Undoing changes of a network after an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Changes", "Rollback", "rollback_on_error", "undone_on_error"]


class Rollback(Exception):  # noqa: N818 - it is no error
    """Raised inside :func:`rollback_on_error`, it undoes the changes and ends the block without an error."""


@contextmanager
def rollback_on_error(model: nn.Module) -> Iterator[None]:
    """Undo removals, and wrapping by NNI, if anything raises; otherwise keep which parameters are frozen.

    Both replace tensors by new ones, so references to the old ones suffice. Values written into an existing tensor are
    not undone.
    """
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters(remove_duplicate=False)}
    saved = [
        (module, dict(module.__dict__), [(table, dict(table)) for table in _tables(module)], _lists(module))
        for module in model.modules()
        # Those that may be in a model that is pruned have no tensors, and a state that is not theirs to change.
        if not isinstance(module, torch.jit.ScriptModule)
    ]
    try:
        yield
    except BaseException as error:
        for module, attributes, tables, lists in saved:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            for table, entries in tables:
                table.clear()
                table.update(entries)
            for original, content in lists:
                original[:] = content
        if isinstance(error, Rollback):
            return
        raise
    for name, parameter in model.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(trainable.get(name, parameter.requires_grad))


def _tables(module: nn.Module) -> list[dict[str, Any]]:
    return [module._parameters, module._buffers, module._modules]


def _lists(module: nn.Module) -> list[tuple[list[Any], list[Any]]]:
    """Recurrent layers have their weights also in a list that is changed in place."""
    return [(value, list(value)) for value in module.__dict__.values() if type(value) is list]


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
