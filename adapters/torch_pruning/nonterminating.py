"""Layers whose coupled group Torch-Pruning never finishes to collect, or fails to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch_pruning._helpers import _HybridIndex
from torch_pruning.dependency import DependencyGraph
from torch_pruning.dependency.index_mapping import update_index_mapping

from .time_limit import TraceTimeoutError, check_time, within_limit

__all__ = ["nonterminating_layers"]

# Probe several channels: after a slice only some of them reach the loop.
_CHANNELS = 8
# A channel whose map of 256x256 is flattened has 65,536 columns.
_MOST_INDICES = _CHANNELS * 2**16
# Each visit is compared with all before. Networks that are pruned correctly take less than one visit per node, except
# for the smallest.
_MOST_VISITS = 4
_FREE_VISITS = 64
# Whether the collection terminates. Removal changes widths, not the paths through a graph.
_KNOWN: WeakKeyDictionary[DependencyGraph, WeakKeyDictionary[nn.Module, bool]] = WeakKeyDictionary()


def nonterminating_layers(graph: DependencyGraph, layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Layers whose channels Torch-Pruning would follow until it is out of memory, or cannot follow.

    Where reshapes, rolls or decoded boxes lead back to a layer, Torch-Pruning 1.6.1 loops with more and more, or
    higher and higher, indices. A few channels show it at little cost: the walk is that of
    ``DependencyGraph.get_pruning_group`` (Fang et al., DepGraph, CVPR 2023), stopped early.

    Args:
        graph: a dependency graph.
        layers: layers of it.
    """
    known = _KNOWN.setdefault(graph, WeakKeyDictionary())
    layers = list(layers)
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        update_index_mapping(graph)
        known.update((layer, _terminates_in_time(graph, layer)) for layer in unknown)
    return [layer for layer in layers if not known[layer]]


def _terminates_in_time(graph: DependencyGraph, layer: nn.Module) -> bool:
    try:
        with within_limit(graph, layer):
            return _terminates(graph, layer)
    except TraceTimeoutError:
        return False


def _terminates(graph: DependencyGraph, layer: nn.Module) -> bool:
    pruner = graph.get_pruner_of_module(layer)
    channels = pruner.get_out_channels(layer) if pruner is not None else None
    if not channels:
        return True
    spread = {round(step * (channels - 1) / (_CHANNELS - 1)) for step in range(_CHANNELS)}
    start = [_HybridIndex(channel, channel) for channel in sorted(spread)]
    left = _MOST_INDICES
    most = _FREE_VISITS + _MOST_VISITS * len(graph.module2node)
    todo: list[tuple[Any, Any, list[Any]]] = [(graph.module2node[layer], pruner.prune_out_channels, start)]
    known: set[tuple[Any, Any, tuple[Any, ...]]] = set()
    while todo:
        check_time(graph)
        node, handler, indices = todo.pop()
        for dependency in node.dependencies:
            if not dependency.is_triggered_by(handler):
                continue
            reached = indices
            for mapping in filter(None, dependency.index_mapping):
                if not mapping.reverse and len(reached) * getattr(mapping, "_stride", 1) > left:
                    return False
                try:
                    reached = mapping(reached)
                except (IndexError, ZeroDivisionError):
                    # As where Torch-Pruning has found fewer parts than a tensor was split into, or heads of no width.
                    return False
            visit = (dependency.target, dependency.handler, tuple(reached))
            if not reached or visit in known:
                continue
            known.add(visit)
            left -= len(reached)
            if left < 0 or len(known) > most:
                return False
            todo.append((dependency.target, dependency.handler, reached))
    return True
