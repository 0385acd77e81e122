"""Where to observe the output channels of the layers that NNI prunes, found before NNI wraps the model."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ...calibration.data import Call, ForwardFn
from ...calibration.observers import ChannelSet
from ...calibration.preserve import preserve_state
from ..torch_pruning.graph import build_graph
from ..torch_pruning.groups import CoupledGroup

__all__ = ["LayerChannels", "channels_by_layer", "check_traceable", "model_call"]


@dataclasses.dataclass(frozen=True)
class LayerChannels:
    """The output channels of a layer.

    Attributes:
        channels: their hook points, in the order of the layer's own channels.
        channel_groups: the number of equal parts of the channels that must lose the same relative indices.
    """

    channels: ChannelSet
    channel_groups: int


def model_call(model: nn.Module, call: Call, forward_fn: ForwardFn | None) -> Call:
    """The call of the model itself where a ``forward_fn`` makes it.

    Raises:
        ValueError: the ``forward_fn`` does not call the model.
    """
    if forward_fn is None:
        return call
    seen: list[Call] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(Call(args, args, kwargs))

    with preserve_state(model), model.register_forward_pre_hook(keep, with_kwargs=True):
        forward_fn(model, call.batch)
    if not seen:
        raise ValueError("forward_fn(model, batch) never called the model")
    return seen[0]


def check_traceable(model: nn.Module, call: Call) -> None:
    """Refuse a model that NNI's tracer cannot trace: its speedup would fail after the whole training.

    Raises:
        ValueError: the tracer fails; the message has its error.
    """
    from nni.common.concrete_trace_utils import concrete_trace

    try:
        # The tracer changes training flags.
        concrete_trace(copy.deepcopy(model).eval(), call.kwargs if not call.args else call.args)
    except Exception as error:
        raise ValueError(f"NNI's tracer cannot trace the model, so its speedup would fail: {error!r}") from error


def channels_by_layer(model: nn.Module, call: Call, onto: nn.Module | None = None) -> dict[str, LayerChannels]:
    """For every convolution and linear layer that runs, by name, its output channels.

    Args:
        model: the model, without NNI's wrappers.
        call: how to call it.
        onto: another copy of the model, wrapped or not, in which to observe the channels; by default ``model``.

    Raises:
        ValueError: Torch-Pruning cannot trace the model.
    """
    with preserve_state(model):
        graph = build_graph(model, call)
    observed = model if onto is None else onto
    found = {}
    for module in list(graph.module2node):
        if isinstance(module, (_ConvNd, nn.Linear)):
            prune = graph.get_pruner_of_module(module).prune_out_channels
            group = CoupledGroup.of(graph.get_pruning_group(module, prune, list(range(graph.get_out_channels(module)))))
            points = tuple(
                dataclasses.replace(point, module=observed.get_submodule(graph._module2name[point.module]))
                for point in group.hook_points
            )
            channels = ChannelSet(group.name, group.num_channels, points)
            found[graph._module2name[module]] = LayerChannels(channels, group.channel_groups)
    return found
