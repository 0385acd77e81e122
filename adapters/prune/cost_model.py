"""The cost of a network at other widths, computed from its coupled groups without pruning a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ...allocation.costs import LayerCosts, NetworkCost
from ...cost.flops import FlopsTable
from ...utils.layers import layer_width
from ..torch_pruning.groups import CoupledGroup

__all__ = ["CostModel"]


class _Layer(NamedTuple):
    """A layer or parameter that loses channels with some groups.

    Attributes:
        wide: parameters that shrink with the output and, in convolutions and linear layers, with the input as well.
        narrow: parameters that shrink with the output alone.
        flops: of the layer as it is.
        outputs: its output channels.
        inputs: its input channels; in depthwise layers, which lose both as one, the outputs count.
    """

    wide: int
    narrow: int
    flops: int
    outputs: int
    inputs: int


class CostModel:
    """Cost of a network as a function of how many channels each group loses.

    Exact for convolutions, linear layers, normalization and single parameters; work outside of layers (attention
    products) and layers of other kinds count as if they did not shrink, or shrank with their width.

    Args:
        groups: the groups.
        table: parameters and FLOPs of the network as it is.
        counted: whether its FLOPs can be counted.

    Attributes:
        layers: the same as data that can be saved.
    """

    def __init__(self, groups: Sequence[CoupledGroup], table: FlopsTable, *, counted: bool = True) -> None:
        layers: dict[int, _Layer] = {}
        # For each layer and group, the share of its outputs and inputs that is removed with one channel of the group.
        taken: dict[tuple[int, int, bool], float] = {}
        flops = {layer.name: layer.flops for layer in table.layers}
        for number, group in enumerate(groups):
            graph = group.group._DG
            # A removal takes the same relative index of every channel group: one channel from each.
            step = group.channel_groups / group.num_channels
            for item in group.group:
                module, handler = item.dep.target.module, item.dep.handler
                layer = layers.get(id(module)) or _layer(graph, item, flops.get(graph._module2name.get(module, ""), 0))
                if layer is None:
                    continue
                layers[id(module)] = layer
                consumes = graph.is_in_channel_pruning_fn(handler) and not graph.is_out_channel_pruning_fn(handler)
                share = len(set(item.idxs)) * step / (layer.inputs if consumes else layer.outputs)
                key = id(module), number, consumes
                taken[key] = max(taken.get(key, 0.0), share)
        rows = {module: row for row, module in enumerate(layers)}
        shares: tuple[list[tuple[int, int, float]], ...] = ([], [])
        for (module, number, consumes), share in taken.items():
            shares[consumes].append((rows[module], number, share))
        self.layers = LayerCosts(
            params=float(table.params),
            flops=float(table.flops) if counted else None,
            wide=tuple(float(layer.wide) for layer in layers.values()),
            narrow=tuple(float(layer.narrow) for layer in layers.values()),
            layer_flops=tuple(float(layer.flops) for layer in layers.values()),
            outputs=tuple(shares[False]),
            inputs=tuple(shares[True]),
            groups=len(groups),
        )

    def at(self, removed: Sequence[int]) -> NetworkCost:
        """The cost with this many channels of each channel group removed from each group."""
        return self.layers.at(removed)


def _layer(graph: Any, item: Any, flops: int) -> _Layer | None:
    module = item.dep.target.module
    if isinstance(module, nn.Parameter):
        return _Layer(0, module.numel(), 0, int(graph.get_out_channels(item.dep.target) or 1), 1)
    if not isinstance(module, nn.Module):
        return None
    total = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    if not total and not flops:
        return None
    if isinstance(module, (_ConvNd, nn.Linear)):
        wide = int(np.prod(module.weight.shape))
        return _Layer(wide, total - wide, flops, layer_width(module, "output") or 1, layer_width(module, "input") or 1)
    outputs = graph.get_out_channels(item.dep.target)
    return _Layer(0, total, flops, int(outputs), 1) if outputs else None
