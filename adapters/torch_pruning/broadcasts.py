"""One-channel maps that are combined with features: a broadcast, which couples no channels."""

from __future__ import annotations

from torch_pruning.dependency import DependencyGraph
from torch_pruning.dependency.node import Node
from torch_pruning.ops import OPTYPE

__all__ = ["separate_broadcasts"]

# Operations between two layers are few.
_MOST_STEPS = 64


def separate_broadcasts(graph: DependencyGraph) -> None:
    """Take the one-channel sides of elementwise operations, as in spatial attention, out of the groups of the others.

    Torch-Pruning pairs the channels of both sides by their index, so that the first channel of the features would be
    removed only together with the map.

    Args:
        graph: changed in place.
    """
    for node in graph.module2node.values():
        if node.type != OPTYPE.ELEMENTWISE or len(node.inputs) < 2:
            continue
        widths = [_width(graph, source) for source in node.inputs]
        if 1 not in widths or max(width or 0 for width in widths) == 1:
            continue
        for source, width in zip(node.inputs, widths, strict=True):
            if width == 1:
                node.dependencies = [one for one in node.dependencies if one.target is not source]
                source.dependencies = [one for one in source.dependencies if one.target is not node]


def _width(graph: DependencyGraph, node: Node) -> int | None:
    """Output channels of an operation: the most of the layers before it; None where they are not known."""
    todo, seen, widths = [node], {node}, []
    while todo:
        one = todo.pop()
        width = graph.get_out_channels(one)
        if width is None and (one.type != OPTYPE.ELEMENTWISE or not one.inputs or len(seen) > _MOST_STEPS):
            return None
        if width is not None:
            widths.append(int(width))
            continue
        new = [source for source in one.inputs if source not in seen]
        seen.update(new)
        todo += new
    return max(widths, default=None)
