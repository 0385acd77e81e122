"""Whether a history leads to a model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from ..batches import as_calls, model_device, one_image
from ..capture import ForwardFn
from ..sealed import CheckpointError
from .history import PruningHistory, Removal, describe, history_of, shapes
from .replay import replay
from .signature import signature_of
from .state import unset_names

__all__ = ["check_shapes", "differences", "fresh_network", "history_from", "known_history"]


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
    call = one_image(next(as_calls(example_inputs, model_device(fresh))))
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
    wrong = differences({name: expected[name] for name in expected if name not in unset_names(model)}, found)
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
