"""Which layers can be solved, in which order, and why others are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import nn

from .kept import equal_channels
from .lockstep import Solvable
from .patches import LayerMatrix, is_linear_map
from .trace import Trace

__all__ = ["RefitPlan", "kept_by_values", "plan_refit", "solvable_layers"]


@dataclass(frozen=True, eq=False)
class RefitPlan:
    """What is to be solved.

    Attributes:
        order: names of the layers in the order in which they are solved.
        original: the layers of the original by name.
        pruned: the layers of the pruned network by name.
        left_alone: reasons by name of the other layers.
    """

    order: tuple[str, ...]
    original: dict[str, Solvable]
    pruned: dict[str, Solvable]
    left_alone: dict[str, str]


def plan_refit(
    pruned: nn.Module,
    original: nn.Module,
    new: Sequence[Trace],
    old: Sequence[Trace],
    ignored: frozenset[str] = frozenset(),
) -> RefitPlan:
    """Compare traces of both networks on some calls.

    Args:
        pruned: the network to be refitted.
        original: the network that it was.
        new: traces of ``pruned``.
        old: traces of ``original`` on the same calls.
        ignored: names of modules that are left alone.

    Raises:
        ValueError: no layer of the pruned network can be fitted to one of the original.
    """
    old_modules, new_modules = dict(original.named_modules()), dict(pruned.named_modules())
    left_alone: dict[str, str] = {}
    shared = _shared(pruned)
    names = []
    for name, module in pruned.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            left_alone[f"{name}.in_proj"] = "attention applies its projections itself"
        if isinstance(module, _WEIGHTED) or is_linear_map(module):
            known = old_modules.get(name)
            reason = "it is ignored" if name in ignored else _reason(name, module, known, shared, new, old)
            if reason is None:
                names.append(name)
            else:
                left_alone[name] = reason
    sums = frozenset.intersection(*(trace.sums for trace in (*new, *old))) if names else frozenset()
    norms = {
        name: norm
        for name, norm in old[0].norms.items()
        if all(trace.norms.get(name) == norm for trace in (*new, *old))
    }
    sums = sums - {name for name in old[0].norms if name not in norms}
    order = _order(old[0], names, sums)
    for trace in (*new, *old):
        same = _common(order, _order(trace, names, sums))
        left_alone.update({name: "layers run in another order" for name in order if name not in same})
        order = [name for name in order if name in same]
    if not order:
        raise ValueError(
            "pruned has no layer that can be fitted to the layer of that name in original: is it a pruned copy of it?"
        )

    def solvable(modules: dict[str, nn.Module], name: str) -> Solvable:
        return Solvable(modules[name], modules[norms[name]] if name in norms else None, name in sums)

    return RefitPlan(
        tuple(order),
        {name: solvable(old_modules, name) for name in order},
        {name: solvable(new_modules, name) for name in order},
        left_alone,
    )


_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)


def kept_by_values(plan: RefitPlan, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor | None]:
    """For each layer the original's channels, as given or by equal values; None where neither shows them."""
    return {
        name: given[name]
        if name in given
        else equal_channels(
            plan.pruned[name].layer, plan.original[name].layer, plan.pruned[name].norm, plan.original[name].norm
        )
        for name in plan.order
    }


def solvable_layers(model: nn.Module, traces: Sequence[Trace]) -> frozenset[str]:
    """Names of the layers of a network that a refit of a pruned copy can solve, going by traces of it."""
    modules = dict(model.named_modules())
    shared = _shared(model)
    return frozenset(
        name
        for name, module in modules.items()
        if is_linear_map(module) and _reason(name, module, module, shared, traces, traces) is None
    )


def _reason(
    name: str, module: Any, original: Any, shared: set[nn.Module], new: Sequence[Trace], old: Sequence[Trace]
) -> str | None:
    """Why a layer cannot be solved; None if it can be."""
    traces = [*new, *old]
    runs = [trace.runs[name] for trace in traces]
    if original is None:
        return "the original has no layer of this name"
    if type(original).__name__ != type(module).__name__:
        return f"it was a {type(original).__name__}"
    if not is_linear_map(module) or not is_linear_map(original):
        return "it has a forward of its own"
    if not any(runs):
        return "it does not run by itself"
    if max(runs) > 1:
        return "it runs more than once"
    if min(runs) == 0:
        return "it does not run on all inputs"
    if module in shared:
        return "it shares its weights with another layer"
    if not isinstance(module._parameters.get("weight"), nn.Parameter):
        return "its weight is computed from others"
    if not module.weight.is_floating_point():
        return f"its weight is {module.weight.dtype}"
    if any(name in trace.unlike for trace in traces):
        return "its output is not its weight times its input"
    if LayerMatrix(module).outputs > LayerMatrix(original).outputs:
        raise ValueError(
            f"layer {name!r} has {LayerMatrix(module).outputs} outputs and {LayerMatrix(original).outputs} in original:"
            " pruned must be a pruned copy of original"
        )
    return None


def _shared(model: nn.Module) -> set[nn.Module]:
    """Modules that hold a parameter which another module, or another place of the model, holds too."""
    holders: Counter[int] = Counter()
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                holders[id(parameter)] += 1
    return {
        module
        for module in model.modules()
        if any(holders[id(parameter)] > 1 for parameter in module._parameters.values() if parameter is not None)
    }


def _order(trace: Trace, names: Sequence[str], sums: frozenset[str]) -> list[str]:
    return [name for kind, name in trace.events if name in names and kind == ("sum" if name in sums else "layer")]


def _common(first: Sequence[str], second: Sequence[str]) -> set[str]:
    """Names that stand in the same order in both."""
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return {name for block in blocks for name in first[block.a : block.a + block.size]}
