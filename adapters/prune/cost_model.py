"""The cost of a network at other widths, without pruning a copy, and how far it is from a target."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ...allocation.costs import LayerCosts, NetworkCost
from ...cost.flops import FlopsTable
from ...utils.layers import layer_width
from ..torch_pruning.groups import CoupledGroup
from .arguments import Target
from .model_size import ModelSize
from .plan import Plan
from .search import Attempt

__all__ = ["TOLERANCE", "CostModel", "TargetDistance", "corrected_aim", "tolerance_of", "unreachable"]

TOLERANCE = 0.01
"""How far from a target FLOPs and parameters may end at most, as a share of the original's."""


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


class TargetDistance:
    """How far the sizes of a network are from targets.

    Args:
        base: size of the network before the first step; targets are shares of it.
    """

    def __init__(self, base: ModelSize) -> None:
        self._base = base

    def excess(self, target: Target, params: float, flops: float | None) -> float:
        """How far a cost is above the target, as a share of the original's; of two targets the one further away."""
        costs = {"params": params, "flops": flops or 0.0}
        shares = target.shares.items()
        return max((costs[name] / self._base.cost(name) - share for name, share in shares), default=0.0)

    def correction(
        self, target: Target, plan: Plan, size: ModelSize, previous_attempts: Sequence[Attempt]
    ) -> Attempt | None:
        """The outcome of a plan, if a corrected target may end nearer; None if it is met or nothing is left to try."""
        known = {attempt.predicted for attempt in previous_attempts}
        measured = self.excess(target, size.table.params, size.flops)
        if plan.predicted is None or abs(measured) <= tolerance_of(target) or plan.predicted in known:
            return None
        exact = not previous_attempts and abs(plan.predicted - measured) < 1e-3
        return None if exact and not plan.at_minimum else Attempt(plan.predicted, measured)

    def note(self, target: Target, size: ModelSize) -> str | None:
        """For the report, if FLOPs or parameters ended away from the target."""
        left = {name: size.cost(name) / self._base.cost(name) for name in target.shares}
        missed = [name for name, share in target.shares.items() if abs(left[name] - share) > tolerance_of(target)]
        if not missed:
            return None
        if len(missed) < len(target.shares) and all(left[name] < target.shares[name] for name in missed):
            (name,) = missed
            return f"{name}={target.shares[name]:g} follows from the other target: it ended at {_digits(left[name])}"
        ended = " and ".join(_digits(left[name]) for name in target.shares)
        return f"{target} is met to {ended} only: no widths were found that end nearer"


def tolerance_of(target: Target) -> float:
    """How far from a target FLOPs and parameters may end, as a share of the original's: a tenth of small targets."""
    return min([TOLERANCE, *(share / 10 for share in target.shares.values())])


def unreachable(target: Target, excess: float) -> str:
    """What an error says where all removals together leave a cost above the target by an excess."""
    limits = "limited by ignored_layers, the output's layers, round_to, pruning_ratio_dict and max_pruning_ratio"
    shares = target.shares
    if len(shares) > 1:
        least = " and ".join(f"{name}={min(1.0, share + excess):.3f}" for name, share in shares.items())
        return f"{target} cannot be met: the least that can is {least} ({limits})"
    ((name, share),) = shares.items()
    left = f"{share + excess:.1%}" if share + excess >= 0.1 else f"{share + excess:.3%}"
    unit = "parameters" if name == "params" else "FLOPs"
    return (
        f"{target} cannot be met: with everything removed that may be removed, {left} of the original's {unit} are "
        f"left ({limits})"
    )


def corrected_aim(now: float, previous_attempts: Sequence[Attempt]) -> float:
    """The predicted excess to plan for: 0, corrected by the errors of earlier predictions (regula falsi)."""
    if not previous_attempts:
        return 0.0
    below = [attempt for attempt in previous_attempts if attempt.measured <= 0]
    above = [attempt for attempt in [*previous_attempts, Attempt(now, now)] if attempt.measured > 0]
    if below and above:
        (low, little), (high, much) = max(below, key=itemgetter(1)), min(above, key=itemgetter(1))
        return low + (high - low) * -little / (much - little)
    predicted, measured = previous_attempts[-1]
    return predicted - measured


def _digits(share: float) -> str:
    return f"{share:.3f}" if share >= 0.01 else f"{share:.2g}"
