"""Where the output channels of the layers that NNI prunes are read, found before NNI wraps the model."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ...calibration.collect import ForwardFn
from ...calibration.data import Call
from ...calibration.observers import ChannelSet
from ...calibration.preserve import preserve_state
from ..torch_pruning.graph import build_graph
from ..torch_pruning.groups import group_reads, num_channel_groups

__all__ = ["LayerReads", "check_traceable", "model_call", "reads_by_layer"]


@dataclasses.dataclass(frozen=True)
class LayerReads:
    """Where a layer's output channels are read.

    Attributes:
        reads: the taps, in the order of the layer's own channels.
        parts: into how many equal parts the channels fall that must lose the same relative indices.
    """

    reads: ChannelSet
    parts: int


def model_call(model: nn.Module, call: Call, forward_fn: ForwardFn | None) -> Call:
    """How the model itself is called where a ``forward_fn`` calls it.

    Raises:
        ValueError: the ``forward_fn`` does not call the model.
    """
    if forward_fn is None:
        return call
    seen: list[Call] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(Call(args, args, kwargs))

    with preserve_state(model):
        model.register_forward_pre_hook(keep, with_kwargs=True)
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


def reads_by_layer(model: nn.Module, call: Call, onto: nn.Module | None = None) -> dict[str, LayerReads]:
    """For every convolution and linear layer that runs, by name, where its output channels are read.

    Args:
        model: the model, without NNI's wrappers.
        call: how to call it.
        onto: another copy of the model, wrapped or not, whose modules the taps shall name; by default ``model``.

    Raises:
        ValueError: Torch-Pruning cannot trace the model.
    """
    with preserve_state(model):
        graph = build_graph(model, call)
    twin = model if onto is None else onto
    found = {}
    for module in list(graph.module2node):
        if isinstance(module, (_ConvNd, nn.Linear)):
            prune = graph.get_pruner_of_module(module).prune_out_channels
            group = graph.get_pruning_group(module, prune, list(range(graph.get_out_channels(module))))
            reads = group_reads(group)
            taps = [
                dataclasses.replace(tap, module=twin.get_submodule(graph._module2name[tap.module]))
                for tap in reads.hook_points
            ]
            found[graph._module2name[module]] = LayerReads(
                dataclasses.replace(reads, hook_points=tuple(taps)), num_channel_groups(group)
            )
    return found
