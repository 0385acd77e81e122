"""Removing channels, verified, and finding the groups of which Torch-Pruning does not remove the right ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch_pruning.dependency import DependencyGraph
from tqdm.auto import tqdm

from ...calibration.preserve import preserve_state
from ...recovery.refitting.patches import LayerMatrix, is_linear_map
from ...utils.layers import first_input
from ...utils.memory import is_out_of_memory
from ...utils.rollback import Rollback, rollback_on_error
from ..torch_pruning.graph import build_graph
from ..torch_pruning.groups import CoupledGroup, root_channels
from .model_size import output_shapes
from .plan import GroupDecision
from .settings import PruneConfig
from .verify import outputs, outputs_differ, outputs_with_zeroed_channels

__all__ = ["WrongRemovalError", "failing_groups", "remove_verified"]

_T = TypeVar("_T")

_FAILS = "the pruned network fails"


class WrongRemovalError(Exception):
    """Channels cannot be removed, the pruned network fails, or its outputs are wrong.

    Attributes:
        failing: the groups at fault, each with the reason; empty where they are not known.
    """

    def __init__(self, what: str, failing: Mapping[CoupledGroup, str] | None = None) -> None:
        super().__init__(what)
        self.failing = dict(failing or {})


def remove_verified(
    model: nn.Module,
    config: PruneConfig,
    decisions: Sequence[GroupDecision],
    shapes: Sequence[tuple[int, ...]],
    graph: DependencyGraph | None = None,
) -> dict[nn.Module, Tensor]:
    """Remove channels of some groups, and compare the outputs with the original's.

    Args:
        model: changed in place, also after an exception.
        config: of the call.
        decisions: what to remove.
        shapes: of the model's outputs.
        graph: a newer trace of the model than that of the groups.

    Returns:
        The indices of the kept output channels, by layer.

    Raises:
        WrongRemovalError: channels cannot be removed, the pruned network fails, or its outputs are wrong.
    """
    verifiable = [one for one in decisions if one.group.verifiable]
    expected: list[Tensor] | None = None
    if config.verify and verifiable:
        zeroed = [(one.group, list(one.representatives)) for one in verifiable]
        expected = _as_wrong_removal(
            "Torch-Pruning has lost track of the channels",
            lambda: outputs_with_zeroed_channels(model, config.sample, config.forward_fn, zeroed),
        )
    kept: dict[nn.Module, Tensor] = {layer: torch.arange(_width(layer)) for layer in model.modules() if _width(layer)}
    for one in verifiable:
        _remove(one, kept, graph)
    if expected is not None:
        with _adapted_unflatten(model):
            actual = _as_wrong_removal(_FAILS, lambda: outputs(model, config.sample, config.forward_fn))
        if outputs_differ(expected, actual):
            raise WrongRemovalError("the outputs differ from those of the original with the removed channels zeroed")
        if len(verifiable) == len(decisions):
            # Equal outputs have equal shapes. A detector may find another number of boxes than before compensation.
            return kept
    for one in decisions:
        if not one.group.verifiable:
            _remove(one, kept, graph)
    with preserve_state(model), _adapted_unflatten(model):
        if _as_wrong_removal(_FAILS, lambda: output_shapes(model, config.example, config.forward_fn)) != shapes:
            raise WrongRemovalError("the shape of the model's output changed")
    return kept


def failing_groups(
    model: nn.Module, config: PruneConfig, decisions: Sequence[GroupDecision]
) -> dict[CoupledGroup, str]:
    """The groups without which all others can be removed, each with the reason.

    Groups are removed together and undone. Each group at fault is found by halving: with the shortest sequence of
    groups that fails, the last one is at fault. This also finds groups that fail only beside others.

    Args:
        model: unchanged.
        config: of the call.
        decisions: what was to be removed.
    """
    found: dict[CoupledGroup, str] = {}
    left = list(decisions)
    with preserve_state(model):
        shapes = output_shapes(model, config.example, config.forward_fn)
    with tqdm(desc="wrong removals", unit="trial", disable=not config.data.progress) as bar:

        def error_of(some: Sequence[GroupDecision]) -> WrongRemovalError | None:
            bar.update()
            return _trial(model, config, some, shapes)

        right = 0
        while left and (error := error_of(left)) is not None:
            if not error.failing:
                low, high = right, len(left)
                while high - low > 1 and not error.failing:
                    middle = (low + high) // 2
                    earlier = error_of(left[:middle])
                    if earlier is None:
                        low = middle
                    else:
                        high, error = middle, earlier
                right = low
                if not error.failing:
                    error = WrongRemovalError(str(error), {left[high - 1].group: str(error)})
            found.update(error.failing)
            left = [one for one in left if one.group not in error.failing]
            bar.set_postfix(found=len(found))
    return found


def _trial(
    model: nn.Module, config: PruneConfig, decisions: Sequence[GroupDecision], shapes: Sequence[tuple[int, ...]]
) -> WrongRemovalError | None:
    """What happens if these channels are removed; the removal is undone."""
    with preserve_state(model):
        graph = build_graph(model, config.example, config.forward_fn)
    error: WrongRemovalError | None = None
    with rollback_on_error(model):
        try:
            remove_verified(model, config, decisions, shapes, graph)
        except WrongRemovalError as caught:
            error = caught
        raise Rollback
    return error


def _remove(decision: GroupDecision, kept: dict[nn.Module, Tensor], graph: DependencyGraph | None) -> None:
    """Remove channels, and update which ones are kept in each layer."""
    group, channels = decision.group, sorted(decision.representatives)
    try:
        partial = group.partial(channels, graph)
        if root_channels(partial) != set(channels):
            raise _wrong(group, "other channels of a layer would be removed as well")
        if not partial._DG.check_pruning_group(partial):
            raise _wrong(group, "a layer of the group would be left without channels")
        removed: dict[nn.Module, set[int]] = {}
        for item in partial:
            layer, handler = item.dep.target.module, item.dep.handler
            if layer in kept and partial._DG.is_out_channel_pruning_fn(handler):
                removed.setdefault(layer, set()).update(item.idxs)
        partial.prune()
    except WrongRemovalError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _wrong(group, f"Torch-Pruning fails with {_described(error)}") from error
    for layer, indices in removed.items():
        left = [place for place in range(len(kept[layer])) if place not in indices]
        kept[layer] = kept[layer][left]


def _width(layer: nn.Module) -> int:
    """Output channels of a layer whose kept channels are tracked; 0 for others."""
    if isinstance(layer, _BatchNorm):
        return layer.num_features
    return LayerMatrix(layer).outputs if is_linear_map(layer) else 0


def _wrong(group: CoupledGroup, reason: str) -> WrongRemovalError:
    return WrongRemovalError(
        f"channels of the group of layer {group.name!r} cannot be removed: {reason}", {group: reason}
    )


def _as_wrong_removal(what: str, call: Callable[[], _T]) -> _T:
    try:
        return call()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise WrongRemovalError(f"{what} ({_described(error)})") from error


def _described(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


@contextmanager
def _adapted_unflatten(model: nn.Module) -> Iterator[None]:
    """Inside, a call of the model sets the channels of ``nn.Unflatten`` to those that its input has.

    Args:
        model: changed by a call inside, where features were removed before an ``nn.Unflatten`` of another size.
    """
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.Unflatten):
                stack.callback(module.register_forward_pre_hook(_adapt, with_kwargs=True).remove)
        yield


def _adapt(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert isinstance(module, nn.Unflatten)
    sizes, features = module.unflattened_size, first_input(args, kwargs)
    if not isinstance(sizes, tuple) or not all(type(size) is int and size > 0 for size in sizes):
        # Named dimensions, or a size that follows from the input.
        return
    width, block = features.shape[module.dim], math.prod(sizes[1:])
    if width != math.prod(sizes) and width % block == 0:
        module.unflattened_size = (width // block, *sizes[1:])
