"""How channels are removed from layers that Torch-Pruning does not know: recurrent layers and norms made of buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch_pruning import ops
from torch_pruning.pruner.function import BasePruningFunc

from ...calibration.data import Call, ForwardFn
from ...utils.layers import first_input
from .index_maps import ChannelPadding, ChannelPaddingPruner

__all__ = ["custom_pruners", "opaque_recurrent_layers", "parameters_like_maps"]

_WIDTH_NAMES = ("num_features", "num_channels", "channels", "features")


class RecurrentPruner(BasePruningFunc):
    """Removes input features of recurrent layers; their own width is kept."""

    TARGET_MODULES = nn.RNNBase

    def prune_in_channels(self, layer: nn.RNNBase, idxs: Sequence[int]) -> nn.RNNBase:
        """Remove the input features from the first layer, in both directions."""
        kept = _complement(layer.input_size, idxs)
        for name in ("weight_ih_l0", "weight_ih_l0_reverse"):
            weight = layer._parameters.get(name)
            if weight is not None:
                setattr(layer, name, _narrowed(weight, 1, kept))
        layer.input_size = len(kept)
        layer.flatten_parameters()
        return layer

    def prune_out_channels(self, layer: nn.RNNBase, idxs: Sequence[int]) -> nn.RNNBase:
        """Refuse: each unit feeds all gates of the next time step."""
        raise ValueError("the output of a recurrent layer keeps its width")

    def get_in_channels(self, layer: nn.RNNBase) -> int:
        """Input features."""
        return layer.input_size

    def get_out_channels(self, layer: nn.RNNBase) -> int:
        """Features of the output, in both directions."""
        return (layer.proj_size or layer.hidden_size) * (2 if layer.bidirectional else 1)


class ChannelTensorPruner(BasePruningFunc):
    """Removes channels from modules whose tensors, buffers or not, have one value a channel, such as frozen norms."""

    TARGET_MODULES = nn.Module

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        """Remove the channels from every tensor of the module."""
        width = self.get_out_channels(layer)
        if width is None:
            return layer
        kept = _complement(width, idxs)
        tables: list[dict[str, Any]] = [layer._parameters, layer._buffers, layer.__dict__]
        for table in tables:
            for name, value in list(table.items()):
                axis = _axis(value)
                if axis is not None and value.shape[axis] == width:
                    table[name] = _narrowed(value, axis, kept)
        for name in _WIDTH_NAMES:
            if layer.__dict__.get(name) == width:
                setattr(layer, name, len(kept))
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int | None:
        """The width; None for a module of this class without such tensors."""
        return _channel_tensor_width(layer)

    get_in_channels = get_out_channels


def custom_pruners(
    model: nn.Module, call: Call, forward_fn: ForwardFn | None
) -> dict[type[nn.Module], BasePruningFunc]:
    """For Torch-Pruning's ``customized_pruners``, by exact type.

    A module with one value a channel is one without layers inside whose tensors all have one length, at least one of
    them a buffer or a plain tensor; its input and output have that many channels in a call.

    Args:
        model: called once if it has modules that may be such; left unchanged.
        call: what to call it with.
        forward_fn: called as ``forward_fn(model, batch)`` instead of the model itself.
    """
    recurrent = RecurrentPruner()
    found: dict[type[nn.Module], BasePruningFunc] = {
        type(module): recurrent for module in model.modules() if isinstance(module, nn.RNNBase)
    }
    found[ChannelPadding] = ChannelPaddingPruner()
    candidates = [
        module
        for module in model.modules()
        if ops.module2type(module) == ops.OPTYPE.ELEMENTWISE and _channel_tensor_width(module) is not None
    ]
    if not candidates:
        return found
    fits: dict[type[nn.Module], bool] = {}

    def observe(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        width, values = _channel_tensor_width(module), (first_input(args, kwargs), output)
        same = all(isinstance(one, Tensor) and one.dim() > 1 and one.shape[1] == width for one in values)
        fits[type(module)] = same and fits.get(type(module), True)

    with ExitStack() as stack, torch.no_grad():
        for module in candidates:
            stack.callback(module.register_forward_hook(observe, with_kwargs=True).remove)
        call.run(model, forward_fn)
    channels = ChannelTensorPruner()
    return found | {kind: channels for kind, fit in fits.items() if fit}


def parameters_like_maps(model: nn.Module) -> list[tuple[nn.Parameter, int]]:
    """For Torch-Pruning's ``unwrapped_parameters``: those of shape (1, C, ...) beside no layer, with the axis 1.

    It takes the last axis of parameters that it does not know, which is the width of an image.
    """
    return [
        (parameter, 1)
        for module in model.modules()
        if ops.module2type(module) == ops.OPTYPE.ELEMENTWISE
        for parameter in module._parameters.values()
        if parameter is not None and parameter.dim() > 3 and parameter.shape[0] == 1 < parameter.shape[1]
    ]


@contextmanager
def opaque_recurrent_layers(model: nn.Module) -> Iterator[None]:
    """Inside, autograd sees a recurrent layer as one operation, rather than its gates at every time step."""
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.RNNBase):
                stack.callback(module.register_forward_hook(_hide).remove)
        yield


class _Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, *outputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(output.clone() for output in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError("a graph that was traced for its structure has no backward pass")


def _hide(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    source = args[0] if isinstance(args[0], Tensor) else args[0].data
    if not source.requires_grad:
        # Without a gradient the layer would be no part of the graph.
        source = source.detach().requires_grad_()
    values, form = tree_flatten(output)
    places = [place for place, value in enumerate(values) if isinstance(value, Tensor) and value.is_floating_point()]
    hidden = _Opaque.apply(source, *(values[place].detach() for place in places))
    for place, value in zip(places, hidden, strict=True):
        values[place] = value
    return tree_unflatten(values, form)


def _channel_tensor_width(module: nn.Module) -> int | None:
    """The length of a module's tensors, if all have one value a channel and not all are parameters."""
    if any(True for child in module.children() for _ in (*child.parameters(), *child.buffers())):
        return None
    plain = [value for value in vars(module).values() if isinstance(value, Tensor)]
    own = [value for value in (*module._buffers.values(), *plain) if value is not None and value.numel() > 1]
    tensors = [*own, *(value for value in module._parameters.values() if value is not None and value.numel() > 1)]
    if not own or not all(value.is_floating_point() for value in tensors):
        return None
    widths = {None if (axis := _axis(value)) is None else value.shape[axis] for value in tensors}
    return widths.pop() if len(widths) == 1 else None


def _axis(value: Any) -> int | None:
    """The only axis of a tensor that is longer than 1."""
    if not isinstance(value, Tensor):
        return None
    long = [axis for axis, length in enumerate(value.shape) if length > 1]
    return long[0] if len(long) == 1 else None


def _complement(width: int, idxs: Sequence[int]) -> list[int]:
    removed = set(idxs)
    return [channel for channel in range(width) if channel not in removed]


def _narrowed(value: Tensor, axis: int, kept: Sequence[int]) -> Tensor:
    narrow = value.detach().index_select(axis, torch.tensor(kept, device=value.device)).clone()
    return nn.Parameter(narrow, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else narrow
