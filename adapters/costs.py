"""What a network would cost at other widths, from its coupled groups alone: no copy is pruned to find out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.dependency import Group

from ..flops import FlopsTable
from .groups import bundles, group_reads

__all__ = ["Cost", "Costs"]


@dataclass(frozen=True)
class Cost:
    """Parameters and FLOPs (one multiply-add is one) of a network; FLOPs are None where they cannot be counted."""

    params: float
    flops: float | None


@dataclass(eq=False)
class _Layer:
    """A layer or parameter that groups take channels from.

    Attributes:
        wide: parameters that shrink with the output and, in convolutions and linear layers, with the input as well.
        narrow: parameters that shrink with the output alone.
        flops: of the layer as it is.
        outputs: its output channels.
        inputs: its input channels.
        out_taken: output channels that go with one channel of each group's root, by number of the group.
        in_taken: input channels that go so.
    """

    wide: int
    narrow: int
    flops: int
    outputs: int
    inputs: int
    out_taken: dict[int, float] = field(default_factory=dict)
    in_taken: dict[int, float] = field(default_factory=dict)

    def shares(self, removed: Sequence[int]) -> tuple[float, float]:
        """What is left of outputs and inputs, as shares."""
        out = sum(rate * removed[group] for group, rate in self.out_taken.items())
        inside = sum(rate * removed[group] for group, rate in self.in_taken.items())
        return max(0.0, 1 - out / self.outputs), max(0.0, 1 - inside / self.inputs)


class Costs:
    """Cost of a network as a function of how many channels go in each group.

    Exact for convolutions, linear layers, normalisation and single parameters; work outside of layers (attention
    products) and layers of other kinds count as if they did not shrink, or shrank with their width.

    Args:
        groups: full groups.
        table: parameters and FLOPs of the network as it is.
        counted: whether its FLOPs can be counted.
    """

    def __init__(self, groups: Sequence[Group], table: FlopsTable, *, counted: bool = True) -> None:
        self.base = Cost(table.params, table.flops if counted else None)
        self._layers: dict[int, _Layer] = {}
        flops = {layer.name: layer.flops for layer in table.layers}
        for number, group in enumerate(groups):
            graph = group._DG
            channels = group_reads(group).num_channels
            # A removal takes the same relative index of every part, so that a step takes one channel from each.
            step = bundles(group) / channels
            for item in group:
                module, handler = item.dep.target.module, item.dep.handler
                layer = self._layers.get(id(module))
                if layer is None:
                    layer = _layer(graph, item, flops.get(graph._module2name.get(module, ""), 0))
                    if layer is None:
                        continue
                    self._layers[id(module)] = layer
                reads = graph.is_in_channel_pruning_fn(handler) and not graph.is_out_channel_pruning_fn(handler)
                taken = layer.in_taken if reads else layer.out_taken
                taken[number] = max(taken.get(number, 0.0), len(set(item.idxs)) * step)

    def at(self, removed: Sequence[int]) -> Cost:
        """The cost with so many channels (of each part) removed from each group."""
        params, flops = self.base.params, self.base.flops
        for layer in self._layers.values():
            out, inside = layer.shares(removed)
            params -= layer.wide * (1 - out * inside) + layer.narrow * (1 - out)
            if flops is not None:
                flops -= layer.flops * (1 - out * inside)
        return Cost(params, flops)


def _layer(graph: Any, item: Any, flops: int) -> _Layer | None:
    module = item.dep.target.module
    if isinstance(module, nn.Parameter):
        return _Layer(0, module.numel(), 0, int(graph.get_out_channels(item.dep.target) or 1), 1)
    if not isinstance(module, nn.Module) or not any(True for _ in module.parameters(recurse=False)):
        return None
    total = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    if isinstance(module, (_ConvNd, nn.Linear)):
        depthwise = isinstance(module, _ConvNd) and module.groups == module.out_channels == module.in_channels
        outputs = module.out_channels if isinstance(module, _ConvNd) else module.out_features
        inputs = module.in_channels if isinstance(module, _ConvNd) else module.in_features
        wide = int(np.prod(module.weight.shape))
        return _Layer(wide, total - wide, flops, outputs, 1 if depthwise else inputs)
    outputs = graph.get_out_channels(item.dep.target)
    return _Layer(0, total, flops, int(outputs), 1) if outputs else None
