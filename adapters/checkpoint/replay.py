"""Removing from a fresh network what was removed from another one like it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch_pruning.dependency import DependencyGraph

from ...calibration.collect import ForwardFn
from ...calibration.data import Call, first_images, iter_calls, model_device
from ...calibration.preserve import preserve_state
from ..torch_pruning.graph import build_graph
from .file import CheckpointError
from .history import PruningHistory, Removal, describe, history_of, shapes, signature_of
from .state import absent_parameters

__all__ = ["check_shapes", "differences", "fresh_network", "history_from", "known_history", "replay"]


def replay(model: nn.Module, history: PruningHistory, call: Call, forward_fn: ForwardFn | None = None) -> None:
    """Remove all that a history says, in place.

    Raises:
        ValueError: Torch-Pruning cannot trace the model or cannot remove something; says which removal. The model is
            then half pruned.
    """
    for number, step in enumerate(history.steps, start=1):
        try:
            with preserve_state(model):
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


def fresh_network(network: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    """A network, or what a function makes.

    Raises:
        TypeError: it makes something else.
    """
    fresh = network if isinstance(network, nn.Module) else network()
    if not isinstance(fresh, nn.Module):
        raise TypeError(f"the network must be a module or a function that makes one; it gave {type(fresh).__name__}")
    return fresh


def known_history(model: nn.Module) -> PruningHistory:
    """What is noted on a model.

    Raises:
        CheckpointError: nothing is, or it leads to other shapes than the model has.
    """
    history = history_of(model)
    if history is None:
        inside = next((name for name, module in model.named_modules() if name and history_of(module)), None)
        hint = f". Its part {inside!r} was pruned by itself: save that" if inside else ""
        raise CheckpointError(
            "nothing says how this model was pruned: foad_plugins.prune() notes it on the model, and for a pruner of "
            f"Torch-Pruning pass history=pruner.pruning_history(), original= and example_inputs={hint}"
        )
    changed = differences(shapes(history.pruned), shapes(describe(model)))
    if changed is not None:
        raise CheckpointError(
            f"the model is not what its pruning left: {changed}. Something else has changed it since; a new head, for "
            "example, must be set before pruning"
        )
    return history


def history_from(
    model: nn.Module,
    removed: Sequence[Sequence[Any]],
    original: nn.Module | Callable[[], nn.Module],
    example_inputs: Any,
    forward_fn: ForwardFn | None,
) -> PruningHistory:
    """What is noted on a model, if anything, with Torch-Pruning's own history added, tried on the unpruned network.

    Raises:
        CheckpointError: it is no such history, or leads to other shapes than the model has.
        TypeError: ``original`` makes something else than a network, or the inputs have no accepted form.
    """
    try:
        step = [Removal(name, "out" if out else "in", tuple(map(int, channels))) for name, out, channels in removed]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"history must be what a pruner's pruning_history() gives: {error}") from error
    fresh = copy.deepcopy(fresh_network(original))
    call = first_images(next(iter_calls(example_inputs, model_device(fresh))))
    earlier = history_of(model)
    steps = (*(earlier.steps if earlier else ()), tuple(step))
    history = PruningHistory(describe(fresh), describe(model), signature_of(call), steps)
    try:
        replay(fresh, history, call, forward_fn)
        check_shapes(fresh, shapes(history.pruned))
    except ValueError as error:
        raise CheckpointError(f"history does not lead from original to this model: {error}") from error
    return history


def check_shapes(model: nn.Module, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Pruned again, a model must have the shapes expected; parameters it has left out may be in addition."""
    found = shapes(describe(model))
    wrong = differences({name: expected[name] for name in expected if name not in absent_parameters(model)}, found)
    if wrong is not None:
        raise ValueError(f"pruned again the network has other shapes: {wrong}")


def differences(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], most: int = 3
) -> str | None:
    """The first differences between two sets of tensors, as text; None if there is none."""
    lines = []
    for name in dict.fromkeys([*expected, *found]):
        if name not in found:
            lines.append(f"{name!r} is missing")
        elif name not in expected:
            lines.append(f"{name!r} is there in addition")
        elif expected[name] != found[name]:
            lines.append(f"{name!r} is {found[name]} instead of {expected[name]}")
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return "; ".join(lines[:most]) + more if lines else None
