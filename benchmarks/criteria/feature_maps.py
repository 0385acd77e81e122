"""Feature maps as their producers make them: after convolution, BN and activation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ...utils.layers import first_input

_NORMS = {F.batch_norm, torch.batch_norm, F.instance_norm, F.group_norm, F.layer_norm}
_ACTIVATIONS = {
    *(F.relu, F.relu_, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, F.relu6),
    *(
        F.leaky_relu,
        F.leaky_relu_,
        F.prelu,
        F.elu,
        F.elu_,
        F.selu,
        F.celu,
        F.gelu,
        F.silu,
        F.mish,
        F.softplus,
    ),
    *(F.hardswish, F.hardtanh, F.hardsigmoid, F.sigmoid, torch.sigmoid, torch.Tensor.sigmoid),
    *(F.tanh, torch.tanh, torch.Tensor.tanh),
}
_METADATA_OPS = {"__get__", "dim", "ndimension", "size", "stride", "numel", "element_size", "is_contiguous"}
"""Functions that ask for a tensor's properties and do not change its values; attributes use ``__get__``."""


class _MapFollower(TorchFunctionMode):
    """Follows each layer's output through BN and one activation, modules or functions, and then hands it on.

    A map is final right after its activation, or when anything else is about to read it. Acting before that
    other operation runs matters: it may write in place, as ``x += shortcut`` does.
    """

    def __init__(self, on_map: Callable[[nn.Module, torch.Tensor], None]) -> None:
        super().__init__()
        self._on_map = on_map
        # Keyed by identity; holding the tensor keeps its id from being given to another one.
        self._pending: dict[int, tuple[nn.Module, torch.Tensor]] = {}

    def follow(self, layer: nn.Module, tensor: torch.Tensor) -> None:
        """From now on ``tensor`` is the output of ``layer`` after the operations so far."""
        self._pending[id(tensor)] = (layer, tensor)

    def finish(self) -> None:
        """Hand on what nothing has read: the network's outputs."""
        while self._pending:
            self._on_map(*self._pending.popitem()[1])

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run ``func``, before or after which some maps may have become final."""
        kwargs = kwargs or {}
        if not self._pending or getattr(func, "__name__", "") in _METADATA_OPS:
            return func(*args, **kwargs)
        first = first_input(args, kwargs)
        if id(first) in self._pending and (func in _NORMS or func in _ACTIVATIONS):
            layer, _ = self._pending.pop(id(first))
            result = func(*args, **kwargs)
            if func in _NORMS:
                self.follow(layer, result)
            else:
                self._on_map(layer, result)
            return result
        for value in _flat((*args, *kwargs.values())):
            if id(value) in self._pending:
                self._on_map(*self._pending.pop(id(value)))
        return func(*args, **kwargs)


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Arguments one by one, those inside lists and tuples (``torch.cat([a, b])``) too."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


@contextmanager
def watch_producer_maps(
    layers: Iterable[nn.Module], on_map: Callable[[nn.Module, torch.Tensor], None]
) -> Iterator[None]:
    """While the context is open, call ``on_map(layer, feature_map)`` once for every call of a layer.

    The map is the layer's output after BN and activation where these follow directly; otherwise (a residual
    sum, a pooling, the network's end) as it is before the next operation. It is valid only during the
    call: a later operation may write into it. All hooks are removed, also after an exception.
    """
    follower = _MapFollower(on_map)
    handles = [
        layer.register_forward_hook(lambda module, _, output: follower.follow(module, output))
        for layer in dict.fromkeys(layers)
    ]
    try:
        with follower:
            yield
        follower.finish()
    finally:
        for handle in handles:
            handle.remove()
