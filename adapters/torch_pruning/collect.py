"""Collecting the coupled group of a layer, in time that grows with the group rather than with its square."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch_pruning import ops
from torch_pruning._helpers import GroupItem, _HybridIndex
from torch_pruning.dependency import DependencyGraph, Group
from torch_pruning.dependency.dependency import Dependency
from torch_pruning.dependency.index_mapping import update_index_mapping

from .time_limit import check_time

__all__ = ["collect_group"]

_Handler = Callable[..., Any]


def collect_group(
    graph: DependencyGraph, root: nn.Module, handler: _Handler, channels: Sequence[int], *, refresh: bool = True
) -> Group:
    """The group that ``DependencyGraph.get_pruning_group`` gives (Fang et al., DepGraph, CVPR 2023), item by item.

    Torch-Pruning compares each visit with all visits before, and infers the shapes of all operations for each group.

    Args:
        graph: the graph.
        root: a layer of it.
        handler: the function of Torch-Pruning that removes channels from the root.
        channels: channels of the root.
        refresh: infer the shapes; not needed again as long as no channel has been removed.

    Raises:
        TraceTimeoutError: within :func:`~.time_limit.within_limit`, it is not complete in time.
    """
    if isinstance(root, ops.TORCH_CONV) and root.groups == root.out_channels > 1:
        handler = graph.get_pruner_of_module(root).prune_out_channels
    if refresh:
        update_index_mapping(graph)
    node = graph.module2node[root]
    start = [_HybridIndex(idx=channel, root_idx=channel) for channel in channels]
    items: list[tuple[Dependency, list[_HybridIndex]]] = [
        (Dependency(handler, handler, source=node, target=node), start)
    ]
    added = {(node, handler, tuple(start))}
    visited, todo = set(), list(items)
    while todo:
        check_time(graph)
        source, indices = todo.pop()
        visited.add(source.target)
        for dependency in source.target.dependencies:
            if not dependency.is_triggered_by(source.handler):
                continue
            reached = indices
            for mapping in dependency.index_mapping:
                if mapping is not None:
                    reached = mapping(reached)
            visit = dependency.target, dependency.handler, tuple(reached)
            if not reached or (dependency.target in visited and visit in added):
                continue
            added.add(visit)
            items.append((dependency, reached))
            todo.append((dependency, reached))
    return _merged(graph, items)


def _merged(graph: DependencyGraph, items: Sequence[tuple[Dependency, list[_HybridIndex]]]) -> Group:
    """One item for each target and handler; of several, each index once, from the first root channel that led to it."""
    merged: dict[tuple[Any, _Handler], tuple[Dependency, list[_HybridIndex]]] = {}
    ignored = {id(parameter) for parameter in graph.ignored_params}
    for dependency, indices in items:
        if id(dependency.target.module) in ignored:
            continue
        key = dependency.target, dependency.handler
        if key in merged:
            first, known = merged[key]
            unique: dict[int, _HybridIndex] = {}
            for index in (*known, *indices):
                unique.setdefault(index.idx, index)
            merged[key] = first, list(unique.values())
        else:
            merged[key] = dependency, indices
    group = Group()
    group._DG = graph
    for dependency, indices in merged.values():
        item = GroupItem(dep=dependency, idxs=[index.idx for index in indices])
        item.root_idxs = [index.root_idx for index in indices]
        group._group.append(item)
    return group
