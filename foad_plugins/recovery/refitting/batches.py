"""Calls of a model cut into passes of about the same size, and what they hold in memory."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from ...calibration.data import Call
from .trace import RunCall

__all__ = ["as_passes", "first_of", "image_count", "peak_bytes"]

# Few threads, and a quarter of them to be left out.
_PASSES = 8
_LEAST = 4


def image_count(call: Call) -> int | None:
    """Number of images in a call; None if its tensors do not agree on it."""
    counts = {
        len(leaf) if leaf.dim() else -1 for leaf in tree_leaves((call.args, call.kwargs)) if isinstance(leaf, Tensor)
    }
    return counts.pop() if len(counts) == 1 and -1 not in counts else None


def first_of(call: Call, begin: int, end: int) -> Call:
    """The images of a call from ``begin`` up to ``end``; the call itself where images cannot be told."""
    images = image_count(call)
    if images is None or not _divisible(call.batch, images):
        return call

    def cut(value: Any) -> Any:
        return value[begin:end] if isinstance(value, Tensor) and value.dim() and len(value) == images else value

    args, kwargs, item = tree_map(cut, (call.args, call.kwargs, call.batch))
    return replace(call, args=args, kwargs=kwargs, batch=item)


def as_passes(calls: Sequence[Call]) -> list[Call]:
    """Calls divided, or joined, to about eight; unchanged where that is not possible.

    Args:
        calls: at least one; ``item`` is None where the model is not given items.
    """
    if len(calls) > _PASSES and all(call.batch is None and _is_one_tensor(call) for call in calls):
        first = calls[0].args[0]
        if all(call.args[0].shape[1:] == first.shape[1:] and call.args[0].dtype == first.dtype for call in calls):
            calls = [Call((torch.cat([call.args[0] for call in calls]),), None)]
    if len(calls) >= _LEAST:
        return list(calls)
    passes: list[Call] = []
    for call in calls:
        images, parts = image_count(call) or 1, -(-_PASSES // len(calls))
        size = max(1, -(-images // parts))
        pieces = [first_of(call, begin, begin + size) for begin in range(0, images, size)]
        passes += pieces if pieces[0] is not call else [call]
    return passes


def peak_bytes(model: nn.Module, call: Call, run_call: RunCall) -> int:
    """The most bytes that tensors made in one run hold at a time."""
    with torch.no_grad(), _LiveBytes() as live:
        run_call(model, call)
    return live.peak


class _LiveBytes(TorchFunctionMode):
    """Counts the bytes of tensors that functions of torch return, as long as these live."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._holders: dict[int, int] = {}
        self._known: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor) and id(tensor) not in self._known:
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        self._known.add(id(tensor))
        self._holders[key] = self._holders.get(key, 0) + 1
        if self._holders[key] == 1:
            self._now += size
            self.peak = max(self.peak, self._now)
        weakref.finalize(tensor, self._drop, id(tensor), key, size).atexit = False

    def _drop(self, tensor: int, key: int, size: int) -> None:
        self._known.discard(tensor)
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self._now -= size


def _is_one_tensor(call: Call) -> bool:
    return len(call.args) == 1 and not call.kwargs and isinstance(call.args[0], Tensor)


def _divisible(item: Any, images: int) -> bool:
    """Whether every leaf of a batch is a tensor over its images, so that a part of it is a batch too."""
    return item is None or all(
        isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == images for leaf in tree_leaves(item)
    )
