"""Why layers keep all their channels: one reason each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.dependency import DependencyGraph

from .graph import nonterminating_roots
from .groups import CoupledGroup
from .time_limit import limit_of, too_slow

__all__ = ["reasons_to_keep"]


def reasons_to_keep(
    model: nn.Module,
    graph: DependencyGraph,
    outputs: Sequence[CoupledGroup],
    ignored: Sequence[nn.Module],
    blocked: Mapping[nn.Module, nn.Module],
    kept_whole: Mapping[CoupledGroup, str],
) -> dict[str, str]:
    """The convolutions and linear layers from which no channel may be removed, by name, each with the reason.

    Args:
        model: the model.
        graph: traced from it, its groups collected.
        outputs: the groups whose channels are the model's output.
        ignored: layers that the user has ignored.
        blocked: of the graph, see :func:`~foad_plugins.adapters.torch_pruning.graph.blocked_layers`.
        kept_whole: other groups that keep their channels, each with the reason.
    """
    names = {layer: name for name, layer in model.named_modules()}
    nonterminating, user = set(nonterminating_roots(graph, list(ignored))), set(ignored)
    of_group = {layer: why for group, why in kept_whole.items() for layer in group.layers}
    of_output = {layer for group in outputs for layer in group.layers}
    traced = {part for module in graph.module2node if isinstance(module, nn.Module) for part in module.modules()}

    def reason(layer: nn.Module) -> str | None:
        if layer in user:
            return "it is in ignored_layers"
        if layer not in traced:
            return "it did not run as a layer when the model was traced"
        if isinstance(layer, nn.RNNBase):
            return "it is recurrent"
        if layer in nonterminating:
            return "Torch-Pruning does not finish to collect its group"
        if too_slow(graph, layer):
            return f"Torch-Pruning takes longer to collect its group than max_trace_seconds={limit_of(graph):g} allows"
        if layer in of_output:
            return "its channels are the model's output"
        return of_group.get(layer)

    found: dict[str, str] = {}
    for layer, name in names.items():
        if not isinstance(layer, (_ConvNd, nn.Linear)):
            continue
        why = reason(layer)
        if why is None and layer in blocked:
            other = blocked[layer]
            why = f"its channels are combined with those of {names.get(other)!r}: {reason(other)}"
        if why is not None:
            found[name] = why
    return found
