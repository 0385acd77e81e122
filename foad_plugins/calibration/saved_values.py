"""Copies of tensors that are compared and restored together, since hundreds of small operations take long on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["SavedValues"]


class SavedValues:
    """The values of some tensors at one moment: one copy for each device and dtype.

    Args:
        tensors: any tensors.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for tensor in tensors:
            groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        with torch.no_grad():
            self._groups = [(group, [one.shape for one in group], _joined(group)) for group in groups.values()]

    def restore(self) -> None:
        """Give each tensor that has changed its shape and its values back; NaN equals NaN.

        The values of unchanged tensors are not written, so that their version counters are unchanged.
        """
        with torch.no_grad():
            for group, shapes, saved in self._groups:
                same_shapes = [one.shape for one in group] == shapes and all(
                    one.device == saved.device and one.dtype == saved.dtype for one in group
                )
                if same_shapes and _equal(_joined(group), saved):
                    continue
                parts = saved.split([shape.numel() for shape in shapes])
                for tensor, shape, values in zip(group, shapes, parts, strict=True):
                    if tensor.shape != shape or not _equal(tensor.flatten(), values):
                        # Observers of quantization give theirs another shape when they first run.
                        tensor.resize_(shape).copy_(values.view(shape))


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two flat tensors have equal values, NaN included."""
    if torch.equal(one, other):
        return True
    if not (one.is_floating_point() or one.is_complex()):
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())
