"""Layers that are not pruned, each with the reason, and notes on those for which Torch-Pruning is the reason."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch_pruning.dependency import DependencyGraph

from ...utils.text import enumerate_some
from .graph import blocked_layers, nonterminating_roots
from .groups import CoupledGroup
from .time_limit import limit_of, too_slow

__all__ = ["reasons_to_keep", "skipped_layer_notes"]

_LAYERS = (_ConvNd, nn.Linear, _NormBase)
_MOST_NAMES = 50


def skipped_layer_notes(model: nn.Module, graph: DependencyGraph, ignored: Sequence[nn.Module]) -> tuple[str, ...]:
    """Notes for a report, one for each reason.

    Args:
        model: the model.
        graph: traced from it.
        ignored: layers that the user has ignored.
    """
    names = {module: name for name, module in model.named_modules()}
    # Attention has layers that it does not call.
    inner = {part for module in graph.module2node if isinstance(module, nn.Module) for part in module.modules()}
    untraced = [names[layer] for layer in names if isinstance(layer, _LAYERS) and layer not in inner]
    nonterminating = [names[layer] for layer in nonterminating_roots(graph, list(ignored)) if layer in names]
    recurrent = [names[layer] for layer in names if isinstance(layer, nn.RNNBase) and layer in graph.module2node]
    notes = []
    if recurrent:
        notes.append(
            f"the recurrent layers {enumerate_some(map(repr, recurrent))} keep the width of their output, and so do "
            "layers whose output is combined with it"
        )
    if untraced:
        notes.append(
            f"{enumerate_some(map(repr, untraced))} did not run as layers when the model was traced (or not under "
            "autograd), and are not pruned: code that runs them elsewhere, such as auxiliary heads in train mode, may "
            "fail now"
        )
    if nonterminating:
        found = enumerate_some(map(repr, nonterminating), _MOST_NAMES)
        notes.append(f"Torch-Pruning does not finish to collect the groups of {found}, which are not pruned")
    slow = [names[layer] for layer in names if layer in graph.module2node and too_slow(graph, layer)]
    if slow:
        notes.append(
            f"Torch-Pruning takes longer to collect the groups of {enumerate_some(map(repr, slow), _MOST_NAMES)} than "
            f"max_trace_seconds={limit_of(graph):g} allows, so they are not pruned"
        )
    return tuple(notes)


def reasons_to_keep(
    model: nn.Module, graph: DependencyGraph, outputs: Sequence[CoupledGroup], ignored: Sequence[nn.Module]
) -> dict[str, str]:
    """The convolutions and linear layers whose channels are in no group to prune, by name, each with the reason.

    Args:
        model: the model.
        graph: traced from it, its groups collected without ``ignored``.
        outputs: the groups whose channels are the model's output.
        ignored: layers that the user has ignored.
    """
    names = {layer: name for name, layer in model.named_modules()}
    nonterminating, user = set(nonterminating_roots(graph, list(ignored))), set(ignored)
    of_output = {layer for group in outputs for layer in group.layers}
    traced = {part for module in graph.module2node if isinstance(module, nn.Module) for part in module.modules()}
    blocked = blocked_layers(graph)

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
        return "its channels are the model's output" if layer in of_output else None

    found: dict[str, str] = {}
    for layer, name in names.items():
        if not isinstance(layer, (_ConvNd, nn.Linear)):
            continue
        why, other = reason(layer), blocked.get(layer)
        if why is None and other is not None:
            why = f"its channels are combined with those of {names.get(other)!r}: {reason(other)}"
        if why is not None:
            found[name] = why
    return found
