"""What a network would cost at other widths, from its coupled groups alone: no copy is pruned to find out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.dependency import Group

from ...cost.flops import FlopsTable
from ..torch_pruning.groups import group_reads, num_channel_groups

__all__ = ["Cost", "Costs"]


@dataclass(frozen=True)
class Cost:
    """Parameters and FLOPs (one multiply-add is one) of a network; FLOPs are None where they cannot be counted."""

    params: float
    flops: float | None


class _Layer(NamedTuple):
    """A layer or parameter that groups take channels from.

    Attributes:
        wide: parameters that shrink with the output and, in convolutions and linear layers, with the input as well.
        narrow: parameters that shrink with the output alone.
        flops: of the layer as it is.
        outputs: its output channels.
        inputs: its input channels; layers that lose outputs and inputs as one, as depthwise ones do, lose outputs.
    """

    wide: int
    narrow: int
    flops: int
    outputs: int
    inputs: int


class Costs:
    """Cost of a network as a function of how many channels go in each group.

    Exact for convolutions, linear layers, normalization and single parameters; work outside of layers (attention
    products) and layers of other kinds count as if they did not shrink, or shrank with their width.

    Args:
        groups: full groups.
        table: parameters and FLOPs of the network as it is.
        counted: whether its FLOPs can be counted.
    """

    def __init__(self, groups: Sequence[Group], table: FlopsTable, *, counted: bool = True) -> None:
        self.base = Cost(table.params, table.flops if counted else None)
        layers: dict[int, _Layer] = {}
        # For each layer and group, the share of its outputs and inputs that goes with one channel of the group.
        taken: dict[tuple[int, int, bool], float] = {}
        flops = {layer.name: layer.flops for layer in table.layers}
        for number, group in enumerate(groups):
            graph = group._DG
            # A removal takes the same relative index of every part, so that a step takes one channel from each.
            step = num_channel_groups(group) / group_reads(group).num_channels
            for item in group:
                module, handler = item.dep.target.module, item.dep.handler
                layer = layers.get(id(module)) or _layer(graph, item, flops.get(graph._module2name.get(module, ""), 0))
                if layer is None:
                    continue
                layers[id(module)] = layer
                reads = graph.is_in_channel_pruning_fn(handler) and not graph.is_out_channel_pruning_fn(handler)
                share = len(set(item.idxs)) * step / (layer.inputs if reads else layer.outputs)
                key = id(module), number, reads
                taken[key] = max(taken.get(key, 0.0), share)
        rows = {module: row for row, module in enumerate(layers)}
        sizes = [layer[:3] for layer in layers.values()]
        self._wide, self._narrow, self._flops = np.array(sizes, float).reshape(-1, 3).T
        self._out, self._in = np.zeros((2, len(self._wide), len(groups)))
        for (module, number, reads), share in taken.items():
            (self._in if reads else self._out)[rows[module], number] = share

    def at(self, removed: Sequence[int]) -> Cost:
        """The cost with so many channels (of each part) removed from each group."""
        gone = np.asarray(removed, dtype=float)
        out = np.maximum(0, 1 - self._out @ gone)
        both = out * np.maximum(0, 1 - self._in @ gone)
        params = self.base.params - float(self._wide @ (1 - both) + self._narrow @ (1 - out))
        if self.base.flops is None:
            return Cost(params, None)
        return Cost(params, self.base.flops - float(self._flops @ (1 - both)))


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
        outputs = module.out_channels if isinstance(module, _ConvNd) else module.out_features
        inputs = module.in_channels if isinstance(module, _ConvNd) else module.in_features
        wide = int(np.prod(module.weight.shape))
        return _Layer(wide, total - wide, flops, outputs, inputs)
    outputs = graph.get_out_channels(item.dep.target)
    return _Layer(0, total, flops, int(outputs), 1) if outputs else None
