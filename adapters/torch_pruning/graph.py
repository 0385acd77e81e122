"""The dependency graph of a model, built and taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, finalize

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch_pruning.dependency import DependencyGraph, Group
from torch_pruning.dependency.index_mapping import update_index_mapping

from ...calibration.collect import require_batch_dim
from ...calibration.data import Call, ForwardFn
from ...calibration.preserve import without_hooks_of
from ...utils.memory import is_out_of_memory
from ...utils.outputs import output_tensors
from .broadcasts import separate_broadcasts
from .collect import collect_group
from .groups import CoupledGroup
from .index_maps import ChannelPadding, TrackingGraph, correct_index_maps
from .layer_pruners import custom_pruners, opaque_recurrent_layers, parameters_like_maps
from .nonterminating import nonterminating_layers
from .time_limit import MAX_TRACE_SECONDS, TraceTimeoutError, limit_time, too_slow, within_limit

# For each layer of a group that was not collected, the layer for whose sake it was not.
_BLOCKED: WeakKeyDictionary[DependencyGraph, dict[nn.Module, nn.Module]] = WeakKeyDictionary()

_ROOTS = (tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR)


def build_graph(
    model: nn.Module,
    call: Call,
    forward_fn: ForwardFn | None = None,
    max_seconds: float = MAX_TRACE_SECONDS,
) -> DependencyGraph:
    """Trace a model, frozen or not, into Torch-Pruning's dependency graph.

    Args:
        model: the model.
        call: what to call it with.
        forward_fn: called as ``forward_fn(model, batch)`` instead of the model itself.
        max_seconds: how long :func:`prunable_groups` may take in this graph; layers whose group is not complete then
            are left out.

    Raises:
        ValueError: Torch-Pruning fails on the model, or the model returns no tensor. An error of the model's own
            ``forward`` is raised unchanged.
    """
    ran = False

    def forward(network: nn.Module, _: Any) -> list[Tensor]:
        nonlocal ran
        output = call.run(network, forward_fn)
        tensors = output_tensors(output)
        if not tensors:
            raise ValueError(f"the model returns no tensor, and nothing that holds one, but a {type(output).__name__}")
        ran = True
        # For Torch-Pruning only a tensor that no other output is computed from is an output.
        return [tensor.clone() for tensor in tensors]

    kept = without_hooks_of("torch_pruning", model)
    with kept, torch.enable_grad(), _trainable(model), require_batch_dim(model), _save_no_activations():
        # Weights that autocast has cached in a run without gradients would be missing from the graph.
        torch.clear_autocast_cache()
        pruners = custom_pruners(model, call, forward_fn)
        try:
            with opaque_recurrent_layers(model):
                graph = TrackingGraph().build_dependency(
                    model,
                    call.batch,
                    forward_fn=forward,
                    unwrapped_parameters=parameters_like_maps(model),
                    customized_pruners=pruners,
                    verbose=False,
                )
            separate_broadcasts(graph)
            correct_index_maps(graph)
            # Nodes hold each other and, through autograd, the parameters before a removal.
            finalize(graph, _disconnect, graph.module2node).atexit = False
            return limit_time(graph, max_seconds)
        except Exception as error:
            if not ran or is_out_of_memory(error):
                raise
            raise ValueError(f"Torch-Pruning cannot trace the model: {error!r}") from error


def _disconnect(nodes: dict[Any, Any]) -> None:
    """Break the cycles of references between the nodes of a graph, so that their memory is free at once."""
    for node in list(nodes.values()):
        for links in (node.inputs, node.outputs, node.dependencies):
            links.clear()
    nodes.clear()


def _save_no_activations() -> saved_tensors_hooks:
    """Save no activations for a backward pass: there is none, only the structure of the graph is used."""
    return saved_tensors_hooks(lambda tensor: None, _refuse_backward)


def _refuse_backward(nothing: None) -> Tensor:
    raise RuntimeError("a graph that was traced for its structure has no activations for a backward pass")


@contextmanager
def _trainable(model: nn.Module) -> Iterator[None]:
    """Require gradients for all parameters inside, since the graph is read from autograd."""
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def prunable_groups(graph: DependencyGraph, ignored_layers: list[nn.Module]) -> list[CoupledGroup]:
    """All groups of a graph, except those with an ignored layer and those that Torch-Pruning cannot collect."""
    return list(each_prunable_group(graph, ignored_layers))


def each_prunable_group(graph: DependencyGraph, ignored_layers: list[nn.Module]) -> Iterator[CoupledGroup]:
    """The groups of :func:`prunable_groups` one by one: of a network with many concatenations all take much memory."""
    recurrent = [layer for layer in graph.module2node if isinstance(layer, nn.RNNBase)]
    left_out = [*ignored_layers, *recurrent, *nonterminating_roots(graph, ignored_layers)]
    for group in _all_groups(graph, left_out):
        coupled = CoupledGroup.of(_at_narrowest_layer(group))
        yield coupled.by_blocks() or coupled


def _at_narrowest_layer(group: Group) -> Group:
    """The same group rooted at its narrowest layer, where channels are padded with zeros.

    The channels beside those of the narrowest layer are combined with zeros, whose number the model has written down.
    """
    if not any(isinstance(item.dep.target.module, ChannelPadding) for item in group):
        return group
    graph = group._DG
    layers = [
        item.dep.target.module
        for item in group
        if isinstance(item.dep.target.module, _ROOTS) and graph.is_out_channel_pruning_fn(item.dep.handler)
    ]
    root = min(layers, key=graph.get_out_channels)
    if root is group[0].dep.target.module:
        return group
    channels = range(graph.get_out_channels(root))
    return collect_group(graph, root, graph.get_pruner_of_module(root).prune_out_channels, channels, refresh=False)


def blocked_layers(graph: DependencyGraph) -> dict[nn.Module, nn.Module]:
    """Layers whose channels can be removed only with those of a layer that was left out of the last collection."""
    return dict(_BLOCKED.get(graph, {}))


def _all_groups(graph: DependencyGraph, left_out: list[nn.Module]) -> Iterator[Group]:
    """As ``DependencyGraph.get_all_groups``, within the graph's time limit."""
    ignored = {id(layer) for layer in (*left_out, *graph.IGNORED_LAYERS_IN_TRACING)}
    visited: set[int] = set()
    update_index_mapping(graph)
    blocked = _BLOCKED[graph] = {}
    for root in list(graph.module2node):
        if not isinstance(root, _ROOTS) or id(root) in ignored | visited or too_slow(graph, root):
            continue
        pruner = graph.get_pruner_of_module(root)
        channels = pruner.get_out_channels(root) if pruner is not None else None
        if channels is None:
            continue
        try:
            with within_limit(graph, root):
                group = collect_group(graph, root, pruner.prune_out_channels, range(channels), refresh=False)
        except TraceTimeoutError:
            continue
        members = {
            id(dep.target.module): dep.target.module for dep, _ in group if graph.is_out_channel_pruning_fn(dep.handler)
        }
        visited |= members.keys()
        blocking = next((layer for member, layer in members.items() if member in ignored), None)
        if blocking is None:
            yield group
        else:
            blocked.update((layer, blocking) for member, layer in members.items() if member not in ignored)


def nonterminating_roots(graph: DependencyGraph, ignored_layers: list[nn.Module]) -> list[nn.Module]:
    """Layers, none of them ignored, whose group Torch-Pruning would never finish to collect."""
    ignored = set(ignored_layers)
    roots = [root for root in graph.module2node if isinstance(root, _ROOTS) and root not in ignored]
    return nonterminating_layers(graph, roots)
