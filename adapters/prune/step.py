"""One step of pruning: plan, compensate, remove, verify, correct the statistics; completely or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...calibration.preserve import preserve_state
from ...recovery.batch_norm import MomentsByLayer, input_moments, shift_running_stats
from ...recovery.refit_step import RefitStep
from ...recovery.refitting.patches import LayerMatrix, is_linear_map
from ...recovery.refitting.report import RefitReport
from ...report.data import GroupReport, LatencyTrial, Verification
from ...utils.rollback import Rollback, rollback_on_error
from ..torch_pruning.compensator import Removal, WeightUpdate
from ..torch_pruning.consumers import layers_without_compensation
from ..torch_pruning.graph import build_graph, prunable_groups
from ..torch_pruning.groups import CoupledGroup, root_channels
from ..torch_pruning.guards import check_no_parametrization, check_no_shared_parameters
from .arguments import Target
from .channel_pairs import channel_pairs
from .model_size import ModelSize, measure, output_shapes
from .planner import GroupDecision, Plan, Planner
from .search import Attempt, meet_target
from .settings import PruneConfig
from .skipped_layers import skipped_layer_notes
from .verify import outputs, outputs_differ, outputs_with_zeroed_channels

__all__ = ["StepResult", "take_step"]

_T = TypeVar("_T")

_FAILS = "the pruned network fails"


@dataclass(frozen=True)
class StepResult:
    """What a step did."""

    groups: tuple[GroupReport, ...]
    size: ModelSize
    compensated: tuple[str, ...]
    not_compensated: tuple[str, ...]
    trials: tuple[LatencyTrial, ...]
    notes: tuple[str, ...]
    kept: dict[str, Tensor] = field(repr=False)
    refit: RefitReport | None = None


class _WrongRemovalError(Exception):
    """The pruned network fails, or its outputs are wrong."""


def take_step(model: nn.Module, planner: Planner, config: PruneConfig, target: Target, size: ModelSize) -> StepResult:
    """Prune a model once, in place.

    Args:
        model: unchanged after an exception.
        planner: of the whole call.
        config: of the whole call.
        target: what this step should reach.
        size: of the model.

    Raises:
        ValueError: nothing to prune, shared or computed parameters, or a target that cannot be met.
        RuntimeError: Torch-Pruning removes the wrong channels, or cannot remove them.
    """
    groups = _trace(model, config)
    check_no_parametrization(model, groups)
    notes = skipped_layer_notes(model, groups[0].group._DG, config.ignored)
    # One pass over the data for all groups.
    config.importance.calibration_of(groups[0])
    moments: MomentsByLayer = {}
    plan = Plan()
    refit = RefitStep(model, config.data, config.sample) if config.compensate == "refit" else None

    def make_plan(previous_attempts: Sequence[Attempt]) -> Plan:
        nonlocal groups, moments, plan
        if previous_attempts:
            groups = _trace(model, config)
        plan = planner.plan(model, groups, target, size, previous_attempts)
        changing = [decision.group for decision in plan.changing]
        check_no_shared_parameters(model, changing)
        if not moments and config.reestimate_bn and changing:
            moments = input_moments(model, config.data)
        return plan

    def correction(plan: Plan, result: StepResult, previous_attempts: Sequence[Attempt]) -> Attempt | None:
        return planner.correction(target, plan, result.size, previous_attempts)

    with ExitStack() as stack:
        if refit is not None:
            stack.enter_context(rollback_on_error(model))
        try:
            result = meet_target(model, make_plan, lambda plan: _apply(model, config, plan, moments, refit), correction)
        except _WrongRemovalError as error:
            raise RuntimeError(_locate_failing_groups(model, config, plan, str(error))) from error.__cause__
        if refit is not None and refit.solvable and plan.changing:
            report = refit(model, result.kept)
            result = replace(result, refit=report, notes=(*result.notes, *report.notes))
    note = planner.note(target, result.size)
    return replace(result, notes=(*result.notes, *notes, *([note] if note else [])))


def _trace(model: nn.Module, config: PruneConfig) -> list[CoupledGroup]:
    """The groups that may be pruned, in the order of their roots in the model."""
    with preserve_state(model):
        graph = build_graph(model, config.example, config.forward_fn)
    groups = [group for group in prunable_groups(graph, list(config.ignored)) if not group.is_output]
    if not groups:
        raise ValueError("the model has no convolution or linear layer whose channels could be pruned")
    place = {name: number for number, (name, _) in enumerate(model.named_modules())}
    return sorted(groups, key=lambda group: place.get(group.name, len(place)))


def _apply(
    model: nn.Module, config: PruneConfig, plan: Plan, moments: MomentsByLayer, refit: RefitStep | None = None
) -> StepResult:
    """Carry a plan out and verify it.

    Raises:
        _WrongRemovalError: the pruned network fails, or its outputs are wrong.
        RuntimeError: Torch-Pruning cannot remove the channels.
    """
    example, forward_fn = config.example, config.forward_fn
    names = {module: name for name, module in model.named_modules()}
    with preserve_state(model):
        shapes = output_shapes(model, example, forward_fn)
    pairs = channel_pairs(model, example, forward_fn, [(one.group, one.selection) for one in plan.decisions])
    not_compensated = [name for one in plan.changing for name in layers_without_compensation(one.group)]
    compensated: list[nn.Module] = []
    if config.compensate is not None and plan.changing:
        weights = refit.weights(model) if refit is not None else {}
        update = WeightUpdate(config.importance.calibration, "least_squares" if refit else config.compensate)
        removals = [Removal(one.group, list(one.representatives), one.representatives) for one in plan.changing]
        compensated = [layer for layer in update(removals) if layer not in weights]
        for layer, weight in weights.items():
            layer._parameters["weight"] = weight
    kept = _remove_verified(model, config, plan)
    with preserve_state(model):
        if _as_wrong_removal(_FAILS, lambda: output_shapes(model, example, forward_fn)) != shapes:
            raise _WrongRemovalError("the shape of the model's output changed")
    if moments:
        shift_running_stats(model, moments, kept, config.data)
    curves = {curve.name: curve for curve in plan.curves}
    return StepResult(
        groups=tuple(
            GroupReport(
                one.group.name,
                one.group.layer_names,
                one.selection,
                one.group.channel_groups,
                _verification(one, config),
                plan.similarity.get(one.group.name),
                shown,
                curves.get(one.group.name),
            )
            for one, shown in zip(plan.decisions, pairs, strict=True)
        ),
        size=measure(model, example, forward_fn),
        compensated=tuple(names[layer] for layer in compensated),
        not_compensated=tuple(dict.fromkeys(not_compensated)) if config.compensate is not None else (),
        trials=plan.trials,
        notes=plan.notes,
        kept={names[layer]: index for layer, index in kept.items() if layer in names},
    )


def _remove_verified(model: nn.Module, config: PruneConfig, plan: Plan) -> dict[nn.Module, Tensor]:
    """Remove the channels, and compare the outputs with the original's; the kept channels by layer."""
    verifiable = [one for one in plan.changing if one.group.verifiable]
    expected: list[Tensor] | None = None
    if config.verify and verifiable:
        zeroed = [(one.group, list(one.representatives)) for one in verifiable]
        expected = _as_wrong_removal(
            "Torch-Pruning has lost track of the channels",
            lambda: outputs_with_zeroed_channels(model, config.sample, config.forward_fn, zeroed),
        )
    kept: dict[nn.Module, Tensor] = {layer: torch.arange(_width(layer)) for layer in model.modules() if _width(layer)}
    for one in verifiable:
        _remove(one, kept)
    if expected is not None:
        actual = _as_wrong_removal(_FAILS, lambda: outputs(model, config.sample, config.forward_fn))
        if outputs_differ(expected, actual):
            raise _WrongRemovalError("the outputs differ from those of the original with the removed channels zeroed")
    for one in plan.changing:
        if not one.group.verifiable:
            _remove(one, kept)
    return kept


def _remove(decision: GroupDecision, kept: dict[nn.Module, Tensor]) -> None:
    """Remove channels, and update which ones are kept in each layer."""
    group, channels = decision.group, sorted(decision.representatives)
    try:
        partial = group.partial(channels)
        if root_channels(partial) != set(channels):
            raise _WrongRemovalError("other channels of a layer would be removed as well")
        if not group.group._DG.check_pruning_group(partial):
            raise RuntimeError("a layer of the group would be left without channels")
        removed: dict[nn.Module, set[int]] = {}
        for item in partial:
            layer, handler = item.dep.target.module, item.dep.handler
            if layer in kept and group.group._DG.is_out_channel_pruning_fn(handler):
                removed.setdefault(layer, set()).update(item.idxs)
        partial.prune()
    except _WrongRemovalError:
        raise
    except Exception as error:
        raise RuntimeError(
            f"Torch-Pruning cannot remove channels of the group of layer {group.name!r}: {error}. The model is "
            "unchanged; name that layer in ignored_layers"
        ) from error
    for norm, indices in removed.items():
        left = [place for place in range(len(kept[norm])) if place not in indices]
        kept[norm] = kept[norm][left]


def _width(layer: nn.Module) -> int:
    """Output channels of a layer whose kept channels are tracked; 0 for others."""
    if isinstance(layer, _BatchNorm):
        return layer.num_features
    return LayerMatrix(layer).outputs if is_linear_map(layer) else 0


def _as_wrong_removal(what: str, call: Callable[[], _T]) -> _T:
    try:
        return call()
    except Exception as error:
        raise _WrongRemovalError(f"{what}: {error}") from error


def _verification(decision: GroupDecision, config: PruneConfig) -> Verification:
    if not config.verify or not decision.selection.removed:
        return "skipped"
    return "verified" if decision.group.verifiable else "not verifiable"


def _locate_failing_groups(model: nn.Module, config: PruneConfig, plan: Plan, what: str) -> str:
    """An error message with the groups that fail, found by removing each one alone and undoing it."""
    alone = replace(config, compensate=None, reestimate_bn=False)
    failing: list[CoupledGroup] = []
    for decision in plan.changing:
        groups = [group for group in _trace(model, config) if group.name == decision.group.name]
        single = replace(plan, decisions=tuple(replace(decision, group=group) for group in groups))
        try:
            with rollback_on_error(model):
                _apply(model, alone, single, {})
                raise Rollback
        except (_WrongRemovalError, RuntimeError):
            failing.append(decision.group)
    if not failing:
        return f"{what}, though each group alone can be removed. The model is unchanged"
    first, *others = failing
    more = f", nor of those of {', '.join(repr(group.name) for group in others)}" if others else ""
    return (
        f"{what}: Torch-Pruning does not remove the right channels of the group of layer {first.name!r} "
        f"({', '.join(map(repr, first.layer_names))}){more}. The model is unchanged; name "
        f"{'these layers' if others else 'that layer'} in ignored_layers"
    )
