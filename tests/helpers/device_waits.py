"""Operations for which the host would wait if the tensors were on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_WAITS = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::masked_select", "aten::equal")


class _Waits(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        masks = args[1] if name in ("aten::index", "aten::index_put", "aten::index_put_") else ()
        by_mask = any(isinstance(one, torch.Tensor) and one.dtype == torch.bool for one in masks)
        self.count += name in _WAITS or by_mask
        return func(*args, **(kwargs or {}))


def device_waits(function: Callable[[], object]) -> int:
    """How often a function would make the host wait, by the operations that it calls on the CPU."""
    with _Waits() as waits:
        function()
    return waits.count
