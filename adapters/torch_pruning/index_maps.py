"""Channels whose place changes in an operation that Torch-Pruning takes for elementwise, or for one on tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch_pruning import ops
from torch_pruning.dependency import DependencyGraph
from torch_pruning.dependency.index_mapping import _ConcatIndexMapping, update_index_mapping
from torch_pruning.dependency.node import Node
from torch_pruning.dependency.shape_infer import (
    infer_channels_between,
    infer_in_channels_recursively,
    infer_out_channels_recursively,
)
from torch_pruning.pruner.function import BasePruningFunc

__all__ = ["ChannelPadding", "ChannelPaddingPruner", "TrackingGraph", "correct_index_maps"]

_PADDING = "ConstantPadNdBackward"


class ChannelPadding(ops._ElementWiseOp):
    """Channels of zeros before and after those of a map, as an operation of Torch-Pruning's graph.

    Args:
        source: the operation as it was traced.
        before: channels of zeros before the others.
        width: channels with the zeros.
        inner: channels without the zeros.
    """

    def __init__(self, source: ops._ElementWiseOp, before: int, width: int, inner: int) -> None:
        super().__init__(source.id, source._grad_fn)
        self.before, self.width, self.inner = before, width, inner


class ChannelPaddingPruner(BasePruningFunc):
    """Counts the channels of a padded map; there is nothing to remove in the operation itself."""

    TARGET_MODULES = ChannelPadding

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        """Count the channels as removed."""
        assert isinstance(layer, ChannelPadding)
        layer.width -= len(idxs)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int:
        """Channels with the zeros."""
        assert isinstance(layer, ChannelPadding)
        return layer.width

    get_in_channels = get_out_channels


@dataclass(frozen=True)
class _Sizes:
    """The sizes of a reshaped map under the name that Torch-Pruning knows; torch has given them another one."""

    _saved_self_sizes: tuple[int, ...]


class TrackingGraph(DependencyGraph):
    """Torch-Pruning's graph, which knows what was reshaped, and how wide a map is with channels of zeros."""

    def _trace(self, *args: Any, **kwargs: Any) -> dict[Any, Node]:
        found: dict[Any, Node] = super()._trace(*args, **kwargs)
        for node in found.values():
            sizes: Any = getattr(node.grad_fn, "_saved_self_sym_sizes", ())
            if node.type == ops.OPTYPE.RESHAPE and len(sizes) >= 4:
                # Only a map that is flattened as a whole gives several features for each channel.
                node.grad_fn = _Sizes((*map(int, sizes[:3]), math.prod(map(int, sizes[3:]))))
        # From the images to the output: a padded map may be padded again.
        for module, node in reversed(list(found.items())):
            before, after = _channel_padding(node)
            inner = infer_out_channels_recursively(self, node.inputs[0], [0]) if before or after else None
            if inner is not None:
                node.module = ChannelPadding(module, before, before + inner + after, inner)
        return {node.module: node for node in found.values()}


def correct_index_maps(graph: DependencyGraph) -> None:
    """Let channels that are padded with zeros, and features that are concatenated after tokens were, keep track.

    Args:
        graph: changed in place.
    """
    for node in graph.module2node.values():
        if node.type == ops.OPTYPE.CONCAT and not node.enable_index_mapping:
            node.enable_index_mapping = _concatenates_features(graph, node)
    update_index_mapping(graph)
    for node in graph.module2node.values():
        if isinstance(node.module, ChannelPadding):
            inside = [node.module.before, node.module.before + node.module.inner]
            (source,) = node.inputs
            for one, other, reverse in ((source, node, False), (node, source, True)):
                for dependency in one.dependencies:
                    if dependency.target is other:
                        dependency.index_mapping[1] = _ConcatIndexMapping(inside, reverse=reverse)


def _channel_padding(node: Node) -> tuple[int, int]:
    """Channels of zeros before and after those of a map (N, C, H, W); (0, 0) for anything else."""
    if node.type != ops.OPTYPE.ELEMENTWISE or not str(getattr(node.grad_fn, "name", str)()).startswith(_PADDING):
        return 0, 0
    padding: Any = getattr(node.grad_fn, "_saved_pad", ())
    # Torch gives a pair for each axis, the last axis first.
    pair = [int(size) for size in padding[4:6]] if len(padding) == 6 else []
    return (pair[0], pair[1]) if pair and min(pair) >= 0 else (0, 0)


def _concatenates_features(graph: DependencyGraph, node: Node) -> bool:
    """Whether the widths of the inputs add up to the width of what consumes them: not so along the tokens.

    Torch-Pruning ignores every concatenation that comes after a parameter such as a class token.
    """
    widths = [infer_channels_between(graph, source, node) for source in node.inputs]
    return None not in widths and len(widths) > 1 and infer_in_channels_recursively(graph, node, [0]) == sum(widths)
