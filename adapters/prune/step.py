"""One step of pruning: plan, compensate, remove, verify, correct the statistics; completely or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ...calibration.preserve import preserve_state
from ...recovery.batch_norm import MomentsByLayer, input_moments, shift_running_stats
from ...recovery.refit_step import RefitStep
from ...recovery.refitting.report import RefitReport
from ...report.data import GroupReport, LatencyTrial, Verification
from ...utils.progress import phase
from ...utils.rollback import rollback_on_error
from ..torch_pruning.channel_pairs import channel_pairs
from ..torch_pruning.compensator import Removal, WeightUpdate
from ..torch_pruning.consumers import layers_without_compensation
from ..torch_pruning.graph import build_graph, prunable_groups
from ..torch_pruning.groups import CoupledGroup
from ..torch_pruning.guards import check_no_parametrization, groups_with_shared_parameters
from ..torch_pruning.skipped_layers import reasons_to_keep, skipped_layer_notes
from ..torch_pruning.time_limit import too_slow
from .arguments import Target
from .model_size import ModelSize, measure, output_shapes
from .plan import GroupDecision, Plan
from .planner import Planner
from .removal import WrongRemovalError, failing_groups, remove_verified
from .search import Attempt, TargetError, meet_target
from .settings import PruneConfig, unavailable

__all__ = ["StepResult", "take_step"]


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
    kept_layers: Mapping[str, str] = field(default_factory=dict)


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
        UnavailableError: widths by sensitivity or refit failed.
        RuntimeError: Torch-Pruning removes the wrong channels, or cannot remove them, and that is to be an error.
    """
    found = _trace(model, config)
    first = [group for group in found if not group.is_output]
    graph = first[0].group._DG
    never = reasons_to_keep(model, graph, [group for group in found if group.is_output], config.ignored)
    del found, graph
    traced: list[CoupledGroup] | None = first
    check_no_parametrization(model, first)
    notes = skipped_layer_notes(model, first[0].group._DG, config.ignored)
    # One pass over the data for all groups.
    config.importance.calibrate_groups(first)
    planner.start_step()
    moments: MomentsByLayer = {}
    plan = Plan()
    refit = None
    if config.compensate == "refit":
        with unavailable("refit"):
            refit = RefitStep(model, config.data, config.sample)

    def make_plan(previous_attempts: Sequence[Attempt]) -> Plan:
        nonlocal moments, plan, traced
        groups = planner.to_prune(traced or [group for group in _trace(model, config) if not group.is_output])
        traced, plan = None, Plan()
        if shared := groups_with_shared_parameters(model, groups):
            if config.on_wrong_removal == "error":
                raise ValueError(_shared(shared))
            planner.keep_whole(shared)
            groups = planner.to_prune(groups)
        plan = planner.plan(model, groups, target, size, previous_attempts)
        changing = [decision.group for decision in plan.changing]
        if not moments and config.reestimate_bn and changing:
            moments = input_moments(model, config.data)
        return plan

    def correction(plan: Plan, result: StepResult, previous_attempts: Sequence[Attempt]) -> Attempt | None:
        return planner.aim.correction(target, plan, result.size, previous_attempts)

    def kept_layers() -> dict[str, str]:
        whole = {name: why for group, why in planner.kept_whole.items() for name in group.layer_names}
        return {name: why for name in size.widths if (why := never.get(name) or whole.get(name))}

    with ExitStack() as stack:
        if refit is not None:
            stack.enter_context(rollback_on_error(model))
        while True:
            try:
                result = meet_target(
                    model, make_plan, lambda plan: _apply(model, config, plan, moments, refit), correction
                )
                break
            except WrongRemovalError as error:
                failing = failing_groups(model, config, plan.changing) or error.failing
                if config.on_wrong_removal == "error" or not failing:
                    raise RuntimeError(_message(str(error), failing)) from error.__cause__
                planner.keep_whole(failing)
            except TargetError as error:
                raise TargetError(str(error), kept_layers()) from None
        if refit is not None and refit.solvable and plan.changing:
            with unavailable("refit"):
                report = refit(model, result.kept)
            result = replace(result, refit=report, notes=(*result.notes, *report.notes))
    note = planner.aim.note(target, result.size)
    notes = (*result.notes, *notes, *planner.notes, *([note] if note else []))
    return replace(result, notes=notes, kept_layers=kept_layers())


def _trace(model: nn.Module, config: PruneConfig) -> list[CoupledGroup]:
    """The groups of the model, in the order of their roots, at least one of which may be pruned."""
    with preserve_state(model), phase("tracing", progress=config.data.progress):
        graph = build_graph(model, config.example, config.forward_fn, config.max_trace_seconds)
        groups = prunable_groups(graph, list(config.ignored))
    nothing = all(group.is_output for group in groups)
    if nothing and any(too_slow(graph, layer) for layer in model.modules()):
        raise ValueError(
            "Torch-Pruning takes longer to collect the groups of all layers than max_trace_seconds="
            f"{config.max_trace_seconds:g} allows: raise it"
        )
    if nothing:
        raise ValueError("the model has no convolution or linear layer whose channels could be pruned")
    place = {name: number for number, (name, _) in enumerate(model.named_modules())}
    return sorted(groups, key=lambda group: place.get(group.name, len(place)))


def _apply(
    model: nn.Module, config: PruneConfig, plan: Plan, moments: MomentsByLayer, refit: RefitStep | None = None
) -> StepResult:
    """Carry a plan out and verify it.

    Raises:
        WrongRemovalError: channels cannot be removed, the pruned network fails, or its outputs are wrong.
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
        with phase("compensating", progress=config.data.progress):
            compensated = [layer for layer in update(removals) if layer not in weights]
        for layer, weight in weights.items():
            layer._parameters["weight"] = weight
    with phase("removing and verifying" if config.verify else "removing", progress=config.data.progress):
        kept = remove_verified(model, config, plan.changing, shapes)
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


def _verification(decision: GroupDecision, config: PruneConfig) -> Verification:
    if not config.verify or not decision.selection.removed:
        return "skipped"
    return "verified" if decision.group.verifiable else "not verifiable"


def _shared(groups: Mapping[CoupledGroup, str]) -> str:
    reasons = "; ".join(dict.fromkeys(groups.values()))
    return f"{reasons}: name them in ignored_layers, with the layers that consume their channels"


def _message(what: str, failing: Mapping[CoupledGroup, str]) -> str:
    """Of the error that ends the call."""
    if not failing:
        return f"{what}, though each group alone can be removed. The model is unchanged"
    first, *others = failing
    more = f", nor of those of {', '.join(repr(group.name) for group in others)}" if others else ""
    return (
        f"{'; '.join(dict.fromkeys(failing.values()))}: Torch-Pruning does not remove the right channels of the group "
        f"of layer {first.name!r} ({', '.join(map(repr, first.layer_names))}){more}. The model is unchanged; name "
        f"{'these layers' if others else 'that layer'} in ignored_layers, or give on_wrong_removal='keep'"
    )
