"""Whether a model has been changed since it was calibrated."""

from __future__ import annotations

import operator
import weakref

import torch
from torch import Tensor, nn

__all__ = ["ModelFingerprint"]


class ModelFingerprint:
    """Detects whether a model is unchanged: the same tensors, not written to since.

    Writes through ``.data`` do not change a tensor's version, so one value of each tensor is compared as well. The
    fingerprint keeps no tensor of the model alive.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = weakref.ref(model)
        tensors = _tensors(model)
        self._tensors = [weakref.ref(tensor) for tensor in tensors]
        self._versions = [tensor._version for tensor in tensors]
        groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for number, tensor in enumerate(tensors):
            if tensor.numel() and tensor.layout == torch.strided:
                groups.setdefault((tensor.device, tensor.dtype), []).append(number)
        self._groups = list(groups.values())
        self._values = _first_values(tensors, self._groups)

    def matches(self, model: nn.Module) -> bool:
        """Whether this is the model, and unchanged."""
        tensors = _tensors(model)
        if self._model() is not model or len(tensors) != len(self._tensors):
            return False
        if not all(map(operator.is_, [ref() for ref in self._tensors], tensors)):
            return False
        return self._versions == [tensor._version for tensor in tensors] and all(
            torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
            for one, other in zip(self._values, _first_values(tensors, self._groups), strict=True)
        )


def _tensors(model: nn.Module) -> list[Tensor]:
    """All parameters and buffers; ``Module.parameters()`` and ``buffers()`` take several times as long."""
    found: list[Tensor | None] = []
    modules, known = [model], {model}
    for module in modules:
        found += module._parameters.values()
        found += module._buffers.values()
        for child in module._modules.values():
            if child is not None and child not in known:
                known.add(child)
                modules.append(child)
    return [tensor for tensor in found if tensor is not None]


def _first_values(tensors: list[Tensor], groups: list[list[int]]) -> list[Tensor]:
    """The first value of each tensor of a group of one device and dtype, on the CPU."""
    with torch.no_grad():
        # One operation for each tensor: a model has hundreds, and this is needed once for every group of channels.
        return [torch.cat([tensors[number].as_strided((1,), (1,)) for number in group]).cpu() for group in groups]
