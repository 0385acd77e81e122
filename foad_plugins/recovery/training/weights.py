"""Training on copies of a network's weights, so that the network is unchanged until the result is accepted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["WorkingWeights", "working_weights"]


class WorkingWeights:
    """The values of a network's parameters and buffers while it works on copies of them.

    Attributes:
        names: dotted names, parameters first.
        tensors: the parameters and buffers themselves, in the order of ``names``.
    """

    def __init__(self, model: nn.Module) -> None:
        named = [*model.named_parameters(), *model.named_buffers()]
        self.names = [name for name, _ in named]
        self.tensors = [tensor for _, tensor in named]
        self._saved = [tensor.data for tensor in self.tensors]
        self._gradients = [tensor.grad for tensor in self.tensors]
        self._slots: list[tuple[dict[str, Any], str, Tensor]] = [
            (table, name, tensor)
            for module in model.modules()
            for table in (module._parameters, module._buffers)
            for name, tensor in table.items()
            if tensor is not None
        ]

    def copy(self, device: torch.device | None, memory_format: torch.memory_format, *, share: bool) -> None:
        """Give the network copies to work on, on a device (None for where it is) and in a memory format.

        With ``share``, tensors that are there in that form already are used as they are.
        """
        for tensor, data in zip(self.tensors, self._saved, strict=True):
            layout: dict[str, Any] = {"memory_format": memory_format} if data.dim() == 4 else {}
            tensor.grad = None
            tensor.data = data.to(device or data.device, copy=not share, **layout)

    def snapshot(self) -> list[Tensor]:
        """Copies of the present values."""
        return [tensor.detach().clone() for tensor in self.tensors]

    @torch.no_grad()
    def load(self, values: Sequence[Tensor]) -> None:
        """Write values in the order of ``names`` into the network."""
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor.copy_(value)

    @torch.no_grad()
    def accept(self) -> None:
        """Write the present values into the network's own tensors, which :meth:`restore` puts back; all or none."""
        written: list[tuple[Tensor, Tensor]] = []
        try:
            for tensor, data in zip(self.tensors, self._saved, strict=True):
                value = tensor.to(data.device)
                # A buffer that is a view with repeated elements cannot be written; nothing trains it.
                if not torch.equal(value, data):
                    written.append((data, data.clone()))
                    data.copy_(value)
        except BaseException:
            for data, value in written:
                data.copy_(value)
            raise

    def restore(self) -> None:
        """Put back the network's own tensors, on their device and in their memory format."""
        for tensor, data, gradient in zip(self.tensors, self._saved, self._gradients, strict=True):
            tensor.grad = None
            tensor.data = data
            tensor.grad = gradient
        for table, name, tensor in self._slots:
            table[name] = tensor


@contextmanager
def working_weights(
    model: nn.Module,
    device: torch.device | None = None,
    memory_format: torch.memory_format = torch.preserve_format,
    *,
    share: bool = False,
) -> Iterator[WorkingWeights]:
    """Let a network work on copies of its weights inside.

    On exit, also by an exception, parameters and buffers are the same objects with the same storage as before, with
    their gradients, and so are the train flags. Their values are the old ones unless :meth:`WorkingWeights.accept` was
    called.

    Args:
        model: the network.
        device: where the copies are; None for where the weights are.
        memory_format: of copies with four dimensions.
        share: the copies are only read, so that none is needed where device and format are right.
    """
    weights = WorkingWeights(model)
    flags = [(module, module.training) for module in model.modules()]
    try:
        weights.copy(device, memory_format, share=share)
        yield weights
    finally:
        weights.restore()
        for module, training in flags:
            module.training = training
