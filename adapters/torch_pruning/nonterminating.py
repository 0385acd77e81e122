"""Layers at which Torch-Pruning does not come to an end when it gathers what goes with their channels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch_pruning._helpers import _HybridIndex
from torch_pruning.dependency import DependencyGraph
from torch_pruning.dependency.index_mapping import update_index_mapping

__all__ = ["endless_layers"]

# Some show it that others do not, where slices take them different ways.
_CHANNELS = 8
# A channel whose map of 256x256 is flattened has 65,536 columns.
_MOST_INDICES = _CHANNELS * 2**16
# Each visit is compared with all before. Networks that it prunes well take less than one a node, but for the smallest.
_MOST_VISITS = 4
_FREE_VISITS = 64
# Whether there is an end. Removal changes widths, not the ways through a graph.
_KNOWN: WeakKeyDictionary[DependencyGraph, WeakKeyDictionary[nn.Module, bool]] = WeakKeyDictionary()


def endless_layers(graph: DependencyGraph, layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Layers whose channels it would follow until memory is gone.

    Where reshapes, rolls or decoded boxes lead back to a layer, Torch-Pruning 1.6.1 goes round with ever more or ever
    higher indices. A few channels show it at little cost: the walk is that of
    ``DependencyGraph.get_pruning_group`` (Fang et al., DepGraph, CVPR 2023), given up early.

    Args:
        graph: a dependency graph.
        layers: layers of it.
    """
    known = _KNOWN.setdefault(graph, WeakKeyDictionary())
    layers = list(layers)
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        update_index_mapping(graph)
        known.update((layer, _ends(graph, layer)) for layer in unknown)
    return [layer for layer in layers if not known[layer]]


def _ends(graph: DependencyGraph, layer: nn.Module) -> bool:
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
        node, handler, indices = todo.pop()
        for dependency in node.dependencies:
            if not dependency.is_triggered_by(handler):
                continue
            reached = indices
            for mapping in filter(None, dependency.index_mapping):
                if not mapping.reverse and len(reached) * getattr(mapping, "_stride", 1) > left:
                    return False
                reached = mapping(reached)
            visit = (dependency.target, dependency.handler, tuple(reached))
            if not reached or visit in known:
                continue
            known.add(visit)
            left -= len(reached)
            if left < 0 or len(known) > most:
                return False
            todo.append((dependency.target, dependency.handler, reached))
    return True
