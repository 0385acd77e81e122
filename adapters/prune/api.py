"""Pruning in one call, on Torch-Pruning: by the published rule, or to a target with compensation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from ...calibration.data import CalibrationData, Call, ForwardFn, check_data, model_device
from ...calibration.preflight import check_forward
from ...calibration.preserve import preserve_state
from ...calibration.split import check_two_parts
from ...cost.latency import measure_latency
from ...recovery.compensation import COMPENSATIONS
from ...report.prune_report import PruneReport
from ...utils.progress import phase
from ...utils.rollback import Rollback, rollback_on_error
from ...utils.warnings import NoEffectWarning, warn
from ..torch_pruning.guards import check_prunable
from ..torch_pruning.importance import FOADImportance
from ..torch_pruning.time_limit import MAX_TRACE_SECONDS
from .arguments import (
    Ratio,
    Target,
    check_choices,
    check_no_target_options,
    check_ratio,
    choose_ranking,
    parse_target,
    resolve_layers,
    resolve_ratios,
)
from .model_size import ModelSize, layer_widths, measure
from .planner import Planner
from .search import Ranking, TargetError
from .settings import PruneConfig, UnavailableError
from .step import StepResult, take_step

__all__ = ["TargetError", "prune"]

_REPLACED = {
    "sensitivity": "every group loses the same share, since the sensitivity of the output cannot be measured",
    "refit": "compensated by least squares, since the layers cannot be refitted",
}
# More images change the time of one image little.
_TIMED_IMAGES = 64


# Parameters made in inference mode could not be trained any more.
@torch.inference_mode(False)
def prune(
    model: nn.Module,
    data: Any,
    neighbors: int | None = None,
    threshold: float | None = None,
    ignored_layers: Sequence[nn.Module | str] = (),
    *,
    flops: float | None = None,
    params: float | None = None,
    latency: float | None = None,
    pruning_ratio: float | None = None,
    importance: tp.importance.Importance | None = None,
    order: str = "reconstruction",
    ranking: Ranking | None = None,
    round_to: int = 1,
    pruning_ratio_dict: Mapping[nn.Module | str, float] | None = None,
    max_pruning_ratio: Ratio = 1.0,
    compensate: str | None = "auto",
    reestimate_bn: bool | None = None,
    steps: int = 1,
    callback: Callable[[nn.Module, int], Any] | None = None,
    verify: bool = True,
    on_wrong_removal: str = "keep",
    max_trace_seconds: float = MAX_TRACE_SECONDS,
    dry_run: bool = False,
    measure_latency: bool = True,
    max_batches: int | None = None,
    max_memory: float | None = None,
    forward_fn: ForwardFn | None = None,
    progress: bool = False,
) -> PruneReport:
    """Prune a model in place: to a target, or by the published rule where none is given.

    ``prune(model, images)`` removes exactly the channels that the rule of :func:`~foad_plugins.greedy_select` removes
    in every coupled group, and changes nothing else. ``prune(model, images, flops=0.5)`` removes from each group as
    many channels as its effect on the model's output allows, and then solves the layers again, one after another, so
    that each gives what the original gives there. ``ranking="local", compensate="least_squares"`` is quicker and
    less accurate.

    Groups that reach the model's output keep all channels, so that the output keeps its shape. After an error the
    model is unchanged; with ``steps`` and a ``callback``, it is as after the last finished step.

    Args:
        model: the network; train flags, frozen parameters and hooks are kept.
        data: calibration data as for :class:`~foad_plugins.FOADImportance`.
        neighbors: t of the published rule, at least 1 (default 1): how many neighbors may be removed for each kept
            channel.
        threshold: s of the published rule, in [0, 1] (default 0): the least similarity at which a channel is removed.
        ignored_layers: layers whose output channels are all kept, as modules or dotted names.
        flops: share of the original's FLOPs to keep, in (0, 1); met within 1 % of the original's, and within a tenth of
            the target, where widths allow.
        params: the same for parameters. With ``flops`` both targets are met, with widths by sensitivity.
        latency: share of the original's time for a call on the first calibration batch, at most 64 images of it, in
            (0, 1), measured on the model's device. Widths in multiples that run fast are tried too.
        pruning_ratio: share of the channels to remove, in [0, 1).
        importance: any importance of Torch-Pruning to rank by instead of FOAD's; one that needs gradients must have
            them.
        order: how FOAD ranks: ``"reconstruction"``, ``"rounds"`` or ``"backward"``, see
            :func:`~foad_plugins.elimination_order`.
        ranking: ``"sensitivity"`` takes the channels whose removal changes the model's output least for what it
            saves, measured as by :func:`~foad_plugins.sensitivity` in every step, on at least two images; ``"local"``
            takes the same share of every group; ``"global"`` takes the lowest scores of all groups; ``"isomorphic"``
            takes the same share of every kind of group, by score within groups of the same structure. None is
            ``"sensitivity"`` for FLOPs, parameters and latency (``"local"``, with a note, where it cannot be measured),
            and ``"local"`` for a pruning ratio.
        round_to: widths of the groups' roots end at multiples of this, or are unchanged.
        pruning_ratio_dict: layers, as modules or names, whose groups lose this share whatever the target, in [0, 1).
            A container means all layers in it without an entry of their own.
        max_pruning_ratio: the share that any group may lose at most, in [0, 1]; or a dict of such shares by layer.
        compensate: ``"refit"``, which solves the layers again, see :func:`~foad_plugins.refit`; ``"least_squares"`` or
            ``"representative"``, see :class:`~foad_plugins.Compensator`; or None. ``"auto"`` is refit with a target
            (least squares, with a note, where a refit is not possible), and None with the rule.
        reestimate_bn: whether to correct the running statistics of batch normalization by the shift of its inputs
            between the network before and after, see :func:`~foad_plugins.recovery.batch_norm.shift_running_stats`.
            None does so with a target, and not with the rule or ``compensate="refit"``.
        steps: reach the target in this many steps, each with its own calibration; the rule is applied in each.
        callback: called as ``callback(model, step)`` after every step but the last, to fine-tune; steps count from 1.
        verify: check on calibration images that the pruned network gives the outputs of the original with the removed
            channels zeroed.
        on_wrong_removal: where Torch-Pruning cannot remove channels of a group, or removes the wrong ones, ``"keep"``
            keeps all channels of that group, with the reason in the report's notes, and goes on to the target with the
            other groups; ``"error"`` raises.
        max_trace_seconds: how long Torch-Pruning may take to collect the coupled groups of all layers, in seconds of
            the processor, above 0; one layer may take a sixth of it. Layers whose group is not complete then keep all
            channels, with a note.
        dry_run: leave the model unchanged; the report is of what would have been done.
        measure_latency: time a call on the first calibration batch, at most 64 images of it, before and after, for the
            report.
        max_batches: use at most this many batches of ``data``; None uses all.
        max_memory: a limit for the sums of similarities, as for :class:`~foad_plugins.FOADImportance`: groups beyond it
            wait for another pass over the data. The report then has no similarity matrices.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        progress: show a progress bar or a line for every phase, on the standard error.

    Returns:
        Widths, removed channels with their representatives, parameters, FLOPs and latency, before and after; print it.
        FLOPs are None where fvcore cannot trace the model, or a ``forward_fn`` calls it.

    Raises:
        TypeError: data or an argument of another form.
        ValueError: two targets other than ``flops`` and ``params``; a parameter out of its range; a name that is no
            layer of the model; no data, or data that the model does not run on; NaN or Inf in a feature map; a model
            without layers to prune or that Torch-Pruning cannot trace. As
            :class:`~foad_plugins.TargetError`, a target that cannot be met.
        RuntimeError: with ``on_wrong_removal="error"``, Torch-Pruning cannot remove channels of a group, or removes
            the wrong ones.

    Warns:
        UnscoredGroupWarning: no feature map of a group was observed; it is not pruned.
        InsufficientDataWarning: fewer samples than channels.
        AmbiguousDataWarning: a tuple that may hold batches.
        NoEffectWarning: nothing was removed.
    """
    check_prunable(model)
    targets = {"flops": flops, "params": params, "latency": latency, "pruning_ratio": pruning_ratio}
    if pruning_ratio_dict and all(value is None for value in (neighbors, threshold, *targets.values())):
        targets["pruning_ratio"] = 0.0
    target = parse_target(neighbors, threshold, **targets)
    has_target = target.kind != "rule"
    check_data(data)
    source = CalibrationData(data, max_batches, forward_fn, progress).for_model(model)
    check_choices(order, round_to, steps, callback, on_wrong_removal, max_trace_seconds)
    chosen = choose_ranking(ranking, target)
    check_no_target_options(
        target,
        importance=importance is not None,
        order=order != "reconstruction",
        ranking=chosen != "local",
        round_to=round_to != 1,
        pruning_ratio_dict=bool(pruning_ratio_dict),
        max_pruning_ratio=max_pruning_ratio != 1.0,
    )
    ignored = resolve_layers(model, ignored_layers, "ignored_layers")
    ratios = resolve_ratios(model, pruning_ratio_dict, "pruning_ratio_dict", closed=False)
    by_layer = isinstance(max_pruning_ratio, Mapping)
    max_ratios = resolve_ratios(model, max_pruning_ratio if by_layer else None, "max_pruning_ratio", closed=True)
    max_ratio = 1.0 if by_layer else check_ratio("max_pruning_ratio", max_pruning_ratio, closed=True)
    method = _compensation(compensate, has_target)
    replaceable = set()
    if compensate == "auto":
        replaceable.add("refit")
    if ranking is None and len(target.shares) < 2:
        replaceable.add("sensitivity")
    with preserve_state(model):
        # Loaders draw random numbers, also those that do not shuffle.
        source = source.reusable()
        batch = source.first(model_device(model), None if forward_fn else _TIMED_IMAGES)
        if chosen == "sensitivity" and ranking is not None:
            check_two_parts(source.data, max_batches)
    measurer, ranker = _importances(importance, order if has_target else "rounds", method, source, max_memory)
    config = PruneConfig(
        data=source,
        batch=batch,
        importance=measurer,
        ranker=ranker,
        ignored=[module for layer in ignored for module in layer.modules()],
        ranking=chosen,
        round_to=round_to,
        ratios=ratios,
        max_ratios=max_ratios,
        max_ratio=max_ratio,
        compensate=method,
        reestimate_bn=has_target and method != "refit" if reestimate_bn is None else reestimate_bn,
        verify=verify,
        on_wrong_removal=on_wrong_removal,
        max_trace_seconds=float(max_trace_seconds),
        replaceable=frozenset(replaceable),
        reestimate_bn_without_refit=has_target if reestimate_bn is None else reestimate_bn,
        max_memory=max_memory,
    )
    check_forward(model, config.example, forward_fn)
    with phase("counting", progress=progress):
        before = measure(model, config.example, forward_fn)
    if "flops" in target.shares and not before.counted:
        raise ValueError(
            "FLOPs of this model cannot be counted (fvcore cannot trace it, or a forward_fn calls it): give params=, "
            "latency= or pruning_ratio= instead of flops="
        )
    latencies = [_latency(model, config) if measure_latency else None]
    steps_taken = _Steps(model, config, before)
    with ExitStack() as stack:
        if callback is None or dry_run:
            # A callback writes into weights, which cannot be undone: then each step is undone by itself.
            stack.enter_context(rollback_on_error(model))
        for step in range(1, steps + 1):
            steps_taken.take(target.at_step(step / steps))
            if callback is not None and step < steps and not dry_run:
                callback(model, step)
        latencies.append(_latency(model, config) if measure_latency else None)
        if dry_run:
            raise Rollback
    report = _report(before, steps_taken, latencies, _num_images(batch) if measure_latency else None, dry_run)
    if not report.removed:
        reason = f"{target} takes no channel" if has_target else "no channel is redundant"
        warn(f"nothing was pruned: {reason} at these parameters", NoEffectWarning)
    return report


class _Steps:
    """The steps of a call, by plainer methods where those that the caller did not ask for are not possible."""

    def __init__(self, model: nn.Module, config: PruneConfig, before: ModelSize) -> None:
        self._model, self._config, self._before = model, config, before
        self._planner = Planner(config, before)
        self.results: list[StepResult] = []
        self.notes: list[str] = []

    def take(self, target: Target) -> None:
        size = self.results[-1].size if self.results else self._before
        while True:
            try:
                self.results.append(take_step(self._model, self._planner, self._config, target, size))
                return
            except UnavailableError as error:
                if error.method not in self._config.replaceable:
                    raise error.cause from error.cause.__cause__
                self.notes.append(f"{_REPLACED[error.method]}: {error.reason}")
                self._config = self._config.without(error.method)
                self._planner = Planner(self._config, self._before)


def _compensation(compensate: str | None, has_target: bool) -> str | None:
    if compensate == "auto":
        return "refit" if has_target else None
    known = (*COMPENSATIONS, "refit")
    if compensate is not None and compensate not in known:
        raise ValueError(f"compensate must be 'auto', None or one of {', '.join(map(repr, known))}, got {compensate!r}")
    return compensate


def _importances(
    importance: tp.importance.Importance | None,
    order: str,
    method: str | None,
    data: CalibrationData,
    max_memory: float | None,
) -> tuple[FOADImportance, tp.importance.Importance | None]:
    """What collects statistics, and what ranks if that is something else."""
    if importance is not None and (isinstance(importance, type) or not callable(importance)):
        raise TypeError(f"importance must be an importance of Torch-Pruning, got {importance!r}")
    settings: dict[str, Any] = {"order": order if importance is None else "rounds"}
    ranker = importance
    if isinstance(importance, FOADImportance) and importance.data is None:
        # Its settings on this data: one calibration serves both purposes.
        settings = {name: getattr(importance, name) for name in ("order", "neighbors", "threshold")}
        ranker = None
    measurer = FOADImportance(
        data.data,
        max_batches=data.max_batches,
        forward_fn=data.forward_fn,
        progress=data.progress,
        products=method is not None,
        max_memory=max_memory,
        **settings,
    )
    return measurer, ranker


def _latency(model: nn.Module, config: PruneConfig) -> float:
    with phase("timing the model", progress=config.data.progress):
        return measure_latency(model, config.batch, forward_fn=config.forward_fn)


def _report(
    before: ModelSize,
    steps: _Steps,
    latencies: Sequence[float | None],
    batch_size: int | None,
    dry_run: bool,
) -> PruneReport:
    results = steps.results
    after = results[-1].size
    return PruneReport(
        layers=layer_widths(before, after),
        groups=tuple(group for result in results for group in result.groups),
        params_before=before.table.params,
        params_after=after.table.params,
        flops_before=before.flops,
        flops_after=after.flops,
        latency_before=latencies[0],
        latency_after=latencies[1],
        batch_size=batch_size,
        compensated=tuple(dict.fromkeys(name for result in results for name in result.compensated)),
        not_compensated=tuple(dict.fromkeys(name for result in results for name in result.not_compensated)),
        latency_trials=tuple(trial for result in results for trial in result.trials),
        notes=tuple(dict.fromkeys([*steps.notes, *(note for result in results for note in result.notes)])),
        dry_run=dry_run,
        refit=results[-1].refit,
        kept_layers=results[-1].kept_layers,
    )


def _num_images(call: Call) -> int | None:
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor) and value.dim()]
    return len(tensors[0]) if tensors else None
