"""Whether a model has been changed since it was calibrated."""

from __future__ import annotations

import ctypes
import operator
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ModelFingerprint"]

# Integers of the width of an element: bits are compared, so that NaN equals NaN.
_BITS: dict[int, Any] = {1: ctypes.c_int8, 2: ctypes.c_int16, 4: ctypes.c_int32, 8: ctypes.c_int64}


class ModelFingerprint:
    """Detects whether a model is unchanged: the same tensors, not written to since.

    Writes through ``.data`` do not change a tensor's version, so one value of each tensor is compared as well. The
    fingerprint keeps no tensor of the model alive.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = weakref.ref(model)
        tensors = _tensors(model)
        self._tensors = [weakref.ref(tensor) for tensor in tensors]
        self._versions = list(map(_version, tensors))
        self._bits: list[tuple[int, Any]] = []
        groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for number, tensor in enumerate(tensors):
            if not tensor.numel() or tensor.layout != torch.strided:
                continue
            if tensor.device.type == "cpu" and type(tensor) in (Tensor, nn.Parameter):
                self._bits.append((number, _BITS[min(8, tensor.element_size())]))
            else:
                groups.setdefault((tensor.device, tensor.dtype), []).append(number)
        self._groups = list(groups.values())
        self._values = self._first_values(tensors)

    def matches(self, model: nn.Module) -> bool:
        """Whether this is the model, and unchanged."""
        tensors = _tensors(model)
        if self._model() is not model or len(tensors) != len(self._tensors):
            return False
        same = map(operator.is_, [ref() for ref in self._tensors], tensors)
        if not all(same) or list(map(_version, tensors)) != self._versions:
            return False
        bits, values = self._first_values(tensors)
        known_bits, known_values = self._values
        return bits == known_bits and all(
            torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
            for one, other in zip(known_values, values, strict=True)
        )

    def _first_values(self, tensors: Sequence[Tensor]) -> tuple[list[int], list[Tensor]]:
        """The first value of each tensor: the bits of those on the CPU, and one tensor for each group of others.

        A model has hundreds of tensors, and this is needed once for every group of channels: a view of each tensor
        takes several times as long as to read it where it lies.
        """
        bits = [kind.from_address(tensors[number].data_ptr()).value for number, kind in self._bits]
        with torch.no_grad():
            groups = [[tensors[number].as_strided((1,), (1,)) for number in group] for group in self._groups]
            return bits, [torch.cat(group).cpu() for group in groups]


_version = operator.attrgetter("_version")


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
