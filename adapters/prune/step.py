"""One step of pruning: plan, let readers take over, remove, prove, move the statistics; wholly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch_pruning.dependency import DependencyGraph, Group

from ...calibration.data import Call
from ...calibration.preserve import preserve_state
from ...recovery.batch_norm import MomentsByLayer, input_moments, shift_running_stats
from ...report.data import GroupReport, LatencyTrial, Proof
from ...utils.rollback import rollback_on_error
from ..torch_pruning.compensator import Removal, WeightUpdate
from ..torch_pruning.graph import build_graph, prunable_groups
from ..torch_pruning.groups import group_name, is_output, of_root
from ..torch_pruning.guards import check_no_parametrization, check_no_shared_parameters
from ..torch_pruning.readers import layers_without_compensation
from .arguments import Goal
from .channel_pairs import channel_pairs
from .model_size import Size, measure, output_shapes
from .planner import Choice, Outcome, Plan
from .settings import Settings
from .skipped_layers import unseen_notes
from .verify import differs, outputs, outputs_with_zeroed_channels

__all__ = [
    "StepResult",
    "take_step",
]

_T = TypeVar("_T")

# A calibration batch of so many images is enough to tell wrong channels from right ones.
PROOF_IMAGES = 2
_ATTEMPTS = 6
_FAILS = "the pruned network fails"


@dataclass(frozen=True)
class StepResult:
    """What a step did."""

    groups: tuple[GroupReport, ...]
    size: Size
    compensated: tuple[str, ...]
    not_compensated: tuple[str, ...]
    trials: tuple[LatencyTrial, ...]
    notes: tuple[str, ...]


class _WrongRemovalError(Exception):
    """The pruned network fails, or says something else than it should."""


class _Undo(Exception):  # noqa: N818 - it is no error, but a way back
    """Leaves a transaction as if nothing had happened."""


def take_step(model: nn.Module, settings: Settings, goal: Goal, example: Call, size: Size) -> StepResult:
    """Prune a model once, in place.

    Args:
        model: as it is.
        settings: of the whole call.
        goal: what this step should reach.
        example: one image.
        size: of the model as it is.

    Raises:
        ValueError: nothing to prune, shared or computed parameters, or a goal that cannot be met.
        RuntimeError: Torch-Pruning removes the wrong channels, or cannot remove them. The model is as it was.
    """
    moments: MomentsByLayer | None = None
    came: list[Outcome] = []
    for attempt in range(_ATTEMPTS):
        graph, groups = _groups(model, settings, example)
        check_no_parametrization(model, groups)
        plan = settings.planner.plan(model, groups, settings, goal, size, came)
        changing = [choice.group for choice in plan.choices if choice.selection.removed]
        check_no_shared_parameters(model, changing)
        if moments is None and settings.reestimate_bn and changing:
            moments = input_moments(model, settings.data, **_how(settings))
        try:
            with rollback_on_error(model):
                result = _apply(model, settings, graph, plan, example, moments or {})
                missed = settings.planner.missed(goal, plan, result.size, came)
                if missed is not None and attempt + 1 < _ATTEMPTS:
                    raise _Undo
        except _Undo:
            # Something that widths do not tell shrank as well, or did not: aim off.
            came += [missed] if missed is not None else []
        except _WrongRemovalError as error:
            raise RuntimeError(_blame(model, settings, plan, example, str(error))) from error.__cause__
        else:
            note = settings.planner.note(goal, result.size)
            return replace(result, notes=(*result.notes, note)) if note else result
    raise AssertionError("unreachable")


def _groups(model: nn.Module, settings: Settings, example: Call) -> tuple[DependencyGraph, list[Group]]:
    with preserve_state(model):
        graph = build_graph(model, example, settings.options.forward_fn)
    groups = [group for group in prunable_groups(graph, list(settings.ignored)) if not is_output(group)]
    if not groups:
        raise ValueError("the model has no convolution or linear layer whose channels could be pruned")
    place = {name: number for number, (name, _) in enumerate(model.named_modules())}
    return graph, sorted(groups, key=lambda group: place.get(group_name(group), len(place)))


def _how(settings: Settings) -> dict[str, Any]:
    return {"max_batches": settings.options.max_batches, "forward_fn": settings.options.forward_fn}


def _apply(
    model: nn.Module, settings: Settings, graph: DependencyGraph, plan: Plan, example: Call, moments: MomentsByLayer
) -> StepResult:
    forward_fn = settings.options.forward_fn
    changing = [choice for choice in plan.choices if choice.selection.removed]
    names = {module: name for name, module in model.named_modules()}
    passed_by = unseen_notes(model, graph, settings.ignored)
    with preserve_state(model):
        shapes = output_shapes(model, example, forward_fn)
    pairs = channel_pairs(model, example, forward_fn, [(choice.group, choice.selection) for choice in plan.choices])
    layers = [_layers(choice.group) for choice in plan.choices]
    left = list(dict.fromkeys(name for choice in changing for name in layers_without_compensation(choice.group)))
    compensated: list[nn.Module] = []
    if settings.compensate is not None and changing:
        take_over = WeightUpdate(settings.importance.calibration, settings.compensate)
        compensated = take_over(
            [Removal(choice.group, list(choice.representatives), choice.representatives) for choice in changing]
        )
    provable = [choice for choice in changing if choice.provable]
    expected: list[Tensor] | None = None
    if settings.verify and provable:
        without = [(choice.group, list(choice.representatives)) for choice in provable]
        expected = _or_wrong(
            "Torch-Pruning has lost track of the channels",
            lambda: outputs_with_zeroed_channels(model, plan.sample, forward_fn, without),
        )
    tracked: dict[nn.Module, Tensor] = {
        norm: torch.arange(norm.num_features) for norm in model.modules() if isinstance(norm, _BatchNorm)
    }
    for choice in provable:
        _remove(graph, choice, tracked)
    if expected is not None:
        _compare(expected, _or_wrong(_FAILS, lambda: outputs(model, plan.sample, forward_fn)))
    for choice in changing:
        if not choice.provable:
            _remove(graph, choice, tracked)
    with preserve_state(model):
        if _or_wrong(_FAILS, lambda: output_shapes(model, example, forward_fn)) != shapes:
            raise _WrongRemovalError("the shape of the model's output changed")
    if moments:
        shift_running_stats(model, moments, tracked, settings.data, **_how(settings))
    return StepResult(
        groups=tuple(
            GroupReport(
                choice.name,
                names_of,
                choice.selection,
                choice.parts,
                _proof(choice, settings),
                plan.similarity.get(choice.name),
                shown,
            )
            for choice, names_of, shown in zip(plan.choices, layers, pairs, strict=True)
        ),
        size=measure(model, example, forward_fn),
        compensated=tuple(names[layer] for layer in compensated),
        not_compensated=tuple(left) if settings.compensate is not None else (),
        trials=plan.trials,
        notes=(*plan.notes, *passed_by),
    )


def _or_wrong(what: str, call: Callable[[], _T]) -> _T:
    try:
        return call()
    except Exception as error:
        raise _WrongRemovalError(f"{what}: {error}") from error


def _compare(expected: Sequence[Tensor], actual: Sequence[Tensor]) -> None:
    if differs(expected, actual):
        raise _WrongRemovalError("the pruned network does not say what the original says without these channels")


def _proof(choice: Choice, settings: Settings) -> Proof:
    if not settings.verify or not choice.selection.removed:
        return "not checked"
    return "proved" if choice.provable else "not provable here"


def _layers(group: Group) -> tuple[str, ...]:
    """Names of the layers that lose outputs with a group, the root first."""
    graph = group._DG
    made = [item.dep.target.module for item in group if graph.is_out_channel_pruning_fn(item.dep.handler)]
    return tuple(dict.fromkeys(graph._module2name[layer] for layer in made if graph._module2name.get(layer)))


def _remove(graph: DependencyGraph, choice: Choice, tracked: dict[nn.Module, Tensor]) -> None:
    """Remove channels, and keep account of which ones are left in the layers tracked."""
    root, channels = choice.group[0].dep, sorted(choice.representatives)
    try:
        cut = graph.get_pruning_group(root.target.module, root.handler, channels)
        if of_root(cut) != set(channels):
            raise _WrongRemovalError("other channels of a layer would go as well")
        if not graph.check_pruning_group(cut):
            raise RuntimeError("a layer of the group would be left without channels")
        gone: dict[nn.Module, set[int]] = {}
        for item in cut:
            if item.dep.target.module in tracked:
                gone.setdefault(item.dep.target.module, set()).update(item.idxs)
        cut.prune()
    except _WrongRemovalError:
        raise
    except Exception as error:
        raise RuntimeError(
            f"Torch-Pruning cannot remove channels of the group of layer {choice.name!r}: {error}. The model is as it "
            "was; name that layer in ignored_layers"
        ) from error
    for norm, indices in gone.items():
        left = [place for place in range(len(tracked[norm])) if place not in indices]
        tracked[norm] = tracked[norm][left]


def _blame(model: nn.Module, settings: Settings, plan: Plan, example: Call, what: str) -> str:
    """Which groups it was: each is removed alone, and put back."""
    alone = replace(settings, compensate=None, reestimate_bn=False)
    wrong: list[Choice] = []
    for choice in [choice for choice in plan.choices if choice.selection.removed]:
        graph, groups = _groups(model, settings, example)
        again = [replace(choice, group=group) for group in groups if group_name(group) == choice.name]
        try:
            with rollback_on_error(model):
                _apply(model, alone, graph, replace(plan, choices=tuple(again)), example, {})
                raise _Undo
        except _Undo:
            continue
        except (_WrongRemovalError, RuntimeError):
            wrong.append(choice)
    if not wrong:
        return f"{what}, though each group alone can be removed. The model is as it was"
    first, *others = wrong
    more = f", nor of those of {', '.join(repr(choice.name) for choice in others)}" if others else ""
    return (
        f"{what}: Torch-Pruning does not remove the right channels of the group of layer {first.name!r} "
        f"({', '.join(map(repr, _layers(first.group)))}){more}. The model is as it was; name "
        f"{'these layers' if others else 'that layer'} in ignored_layers"
    )
