"""Removing from a fresh network what was removed from another one like it."""

from __future__ import annotations

from torch import nn
from torch_pruning.dependency import DependencyGraph

from ..batches import Call
from ..capture import ForwardFn
from ..quiet import undisturbed
from .groups import build_graph
from .history import PruningHistory, Removal

__all__ = ["replay"]


def replay(model: nn.Module, history: PruningHistory, call: Call, forward_fn: ForwardFn | None = None) -> None:
    """Remove all that a history says, in place.

    Raises:
        ValueError: Torch-Pruning cannot trace the model or cannot remove something; says which removal. The model is
            then half pruned.
    """
    for number, step in enumerate(history.steps, start=1):
        try:
            with undisturbed(model):
                graph = build_graph(model, call, forward_fn)
        except Exception as error:
            raise ValueError(f"the network cannot be traced for step {number} of its pruning: {error}") from error
        for removal in step:
            try:
                _remove(model, graph, removal)
            except Exception as error:
                raise ValueError(
                    f"step {number} of its pruning cannot be done again at layer {removal.layer!r}: {error}"
                ) from error


def _remove(model: nn.Module, graph: DependencyGraph, removal: Removal) -> None:
    layer = dict(model.named_modules()).get(removal.layer)
    if layer is None:
        raise ValueError("the network has no such layer")
    outwards = removal.side == "out"
    width = int(graph.get_out_channels(layer) if outwards else graph.get_in_channels(layer))
    if max(removal.channels, default=0) >= width:
        raise ValueError(f"it has {width} channels, to lose {list(removal.channels)}")
    pruner = graph.get_pruner_of_module(layer)
    prune = pruner.prune_out_channels if outwards else pruner.prune_in_channels
    graph.get_pruning_group(layer, prune, list(removal.channels)).prune()
