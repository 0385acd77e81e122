"""Pruning in one call, on Torch-Pruning: by the published rule, or to a target, with readers taking over what goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from ...calibration.collect import ForwardFn
from ...calibration.data import Call, check_data, first_images, iter_calls, model_device, reusable
from ...calibration.preflight import check_forward
from ...calibration.preserve import preserve_state
from ...cost.latency import measure_latency
from ...recovery.compensation import COMPENSATIONS
from ...report.prune_report import PruneReport
from ...utils.rollback import rollback_on_error
from ...utils.warnings import NoEffectWarning, warn
from ..torch_pruning.calibration import CalibrationData
from ..torch_pruning.guards import check_prunable
from ..torch_pruning.importance import FOADImportance
from .arguments import (
    Goal,
    Share,
    check_choices,
    check_no_target_options,
    check_ratio,
    parse_target,
    resolve_layers,
    resolve_shares,
)
from .model_size import Size, layer_widths, measure
from .planner import Planner
from .search import Ranking, TargetError
from .settings import Settings
from .step import PROOF_IMAGES, StepResult, take_step

__all__ = ["TargetError", "prune"]


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
    ranking: Ranking = "local",
    round_to: int = 1,
    pruning_ratio_dict: Mapping[nn.Module | str, float] | None = None,
    max_pruning_ratio: Share = 1.0,
    compensate: str | None = "auto",
    reestimate_bn: bool | None = None,
    steps: int = 1,
    callback: Callable[[nn.Module, int], Any] | None = None,
    verify: bool = True,
    dry_run: bool = False,
    measure_latency: bool = True,
    max_batches: int | None = None,
    forward_fn: ForwardFn | None = None,
    progress: bool = False,
) -> PruneReport:
    """Prune a model in place: to a target, or by the published rule where none is given.

    ``prune(model, images)`` removes exactly the channels that the rule of :func:`~foad_plugins.greedy_select` removes
    in every coupled group, and changes nothing else. ``prune(model, images, flops=0.5)`` ranks all channels, removes
    as many as the target takes, lets the layers that read them take over what they said, and moves the statistics
    of batch normalization by what the calibration data says.

    Groups that reach the model's output keep all channels, so that the output keeps its shape. Whatever
    fails, the model is left as it was; with ``steps`` and a ``callback``, as the last finished step left it.

    Args:
        model: the network; train flags, frozen parameters and hooks stay as they are.
        data: calibration data as for :class:`~foad_plugins.FOADImportance`.
        neighbors: t of the published rule, at least 1 (default 1): how many neighbors may go for each channel kept.
        threshold: s of the published rule, in [0, 1] (default 0): the least similarity at which a channel goes.
        ignored_layers: layers whose output channels all stay, as modules or dotted names.
        flops: share of the original's FLOPs to end at, in (0, 1); met within 1 % of the original's, where widths allow.
        params: the same for parameters.
        latency: share of the original's time for a call on the first calibration batch to end at, in (0, 1), measured
            on the model's device. Widths in multiples that run fast are tried too.
        pruning_ratio: share of the channels to remove, in [0, 1).
        importance: any importance of Torch-Pruning to rank by in place of FOAD's; one that needs gradients must have
            them.
        order: how FOAD ranks: ``"reconstruction"``, ``"rounds"`` or ``"backward"``, see
            :func:`~foad_plugins.elimination_order`.
        ranking: ``"local"`` takes the same share of every group; ``"global"`` goes by score over all groups;
            ``"isomorphic"`` goes by score among groups of the same structure and takes the same share of each kind.
        round_to: widths of the groups' roots end at multiples of this, or stay.
        pruning_ratio_dict: layers, as modules or names, whose groups lose this share whatever the target, in [0, 1).
            A container means all layers in it that no entry of their own has.
        max_pruning_ratio: the share that any group may lose at most, in [0, 1]; or a dict of such shares by layer.
        compensate: ``"least_squares"``, ``"representative"`` or None; see :class:`~foad_plugins.Compensator`.
            ``"auto"`` is
            least squares with a target, and None with the rule.
        reestimate_bn: whether to move the statistics of batch normalization, by ``update_bn`` on the network before and
            after. None does so with a target, and not with the rule.
        steps: reach the target in so many steps, each calibrated anew; the rule is applied so many times.
        callback: called as ``callback(model, step)`` after every step but the last, to fine-tune; steps count from 1.
        verify: check on calibration images that the pruned network says what the original says when the removed
            channels are zeroed where they are read.
        dry_run: leave the model as it was; the report is of what would have been done.
        measure_latency: time a call on the first calibration batch before and after, for the report.
        max_batches: use so many batches of ``data`` at most; None uses all.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        progress: show a progress bar while calibrating.

    Returns:
        Widths, removed channels with their representatives, parameters, FLOPs and latency, before and after; print it.
        FLOPs
        are None where fvcore cannot trace the model, or a ``forward_fn`` calls it.

    Raises:
        TypeError: data or an argument of another form.
        ValueError: two targets; a parameter out of its range; a name that is no layer of the model; no data, or data
            that the model does not run on; NaN or Inf in a feature map; a model without layers to prune or that
            Torch-Pruning cannot trace; layers to prune that share parameters. As
            :class:`~foad_plugins.TargetError`, a target that cannot be met.
        RuntimeError: Torch-Pruning cannot remove channels from this model, or removes the wrong ones.

    Warns:
        UnscoredGroupWarning: a group has no feature map that can be read, and stays whole.
        InsufficientDataWarning: fewer samples than channels.
        NoEffectWarning: nothing was removed.
    """
    check_prunable(model)
    targets = {"flops": flops, "params": params, "latency": latency, "pruning_ratio": pruning_ratio}
    if pruning_ratio_dict and neighbors is None and threshold is None and not any(map(_given, targets.values())):
        targets["pruning_ratio"] = 0.0
    goal = parse_target(neighbors, threshold, **targets)
    targeted = goal.kind != "rule"
    check_data(data)
    options = CalibrationData(max_batches, forward_fn, progress)
    check_choices(order, ranking, round_to, steps, callback)
    check_no_target_options(
        goal,
        importance=importance is not None,
        order=order != "reconstruction",
        ranking=ranking != "local",
        round_to=round_to != 1,
        pruning_ratio_dict=bool(pruning_ratio_dict),
        max_pruning_ratio=max_pruning_ratio != 1.0,
    )
    ignored = resolve_layers(model, ignored_layers, "ignored_layers")
    ratios = resolve_shares(model, pruning_ratio_dict, "pruning_ratio_dict", closed=False)
    caps = (
        (resolve_shares(model, max_pruning_ratio, "max_pruning_ratio", closed=True), 1.0)
        if isinstance(max_pruning_ratio, Mapping)
        else ({}, check_ratio("max_pruning_ratio", max_pruning_ratio, closed=True))
    )
    method = _method(compensate, targeted)
    with preserve_state(model):
        # Loaders draw random numbers, also those that do not shuffle.
        data = reusable(data, max_batches)
        batch = next(iter_calls(data, model_device(model), 1))
    example = first_images(batch)
    measurer, ranker = _importances(importance, goal, order, method, data, options)
    check_forward(model, example, forward_fn)
    before = measure(model, example, forward_fn)
    if goal.kind == "flops" and not before.counted:
        raise ValueError(
            "FLOPs of this model cannot be counted (fvcore cannot trace it, or a forward_fn calls it): give params=, "
            "latency= or pruning_ratio= instead of flops="
        )
    run = _Run(
        Settings(
            data=data,
            options=options,
            importance=measurer,
            ranker=ranker,
            planner=Planner(before, first_images(batch, PROOF_IMAGES), batch, ranking, round_to, ratios, caps),
            ignored=[module for layer in ignored for module in layer.modules()],
            compensate=method,
            reestimate_bn=targeted if reestimate_bn is None else reestimate_bn,
            verify=verify,
        ),
        goal,
        steps,
        callback,
        example,
        measure_latency,
    )
    report = run.dry(model, before) if dry_run else run(model, before)
    if not report.removed:
        reason = f"{goal.kind}={goal.value:g} takes no channel" if targeted else "no channel is redundant"
        warn(f"nothing was pruned: {reason} at these parameters", NoEffectWarning)
    return report


class _DryRunOver(Exception):  # noqa: N818 - it is no error, but a way back
    """Leaves the transaction of a dry run."""


@dataclass(frozen=True, eq=False)
class _Run:
    """One call of :func:`prune`, its arguments checked."""

    settings: Settings
    goal: Goal
    steps: int
    callback: Callable[[nn.Module, int], Any] | None
    example: Call
    timed: bool

    def dry(self, model: nn.Module, before: Size) -> PruneReport:
        """The report of a run, and the model as it was."""
        try:
            with rollback_on_error(model):
                report = self(model, before, dry=True)
                raise _DryRunOver
        except _DryRunOver:
            return report

    def __call__(self, model: nn.Module, before: Size, *, dry: bool = False) -> PruneReport:
        batch, forward_fn = self.settings.planner.batch, self.settings.options.forward_fn
        first = measure_latency(model, batch, forward_fn=forward_fn) if self.timed else None
        results: list[StepResult] = []
        with ExitStack() as stack:
            if self.callback is None:
                # A callback writes into weights, which cannot be undone: then each step stands for itself.
                stack.enter_context(rollback_on_error(model))
            for number in range(1, self.steps + 1):
                size = results[-1].size if results else before
                results.append(take_step(model, self.settings, self.goal.part(number / self.steps), self.example, size))
                if self.callback is not None and number < self.steps and not dry:
                    self.callback(model, number)
            after = results[-1].size
            return PruneReport(
                layers=layer_widths(before, after),
                groups=tuple(group for result in results for group in result.groups),
                params_before=before.table.params,
                params_after=after.table.params,
                flops_before=before.flops,
                flops_after=after.flops,
                latency_before=first,
                latency_after=measure_latency(model, batch, forward_fn=forward_fn) if self.timed else None,
                batch_size=_images(batch) if self.timed else None,
                compensated=tuple(dict.fromkeys(name for result in results for name in result.compensated)),
                not_compensated=tuple(dict.fromkeys(name for result in results for name in result.not_compensated)),
                latency_trials=tuple(trial for result in results for trial in result.trials),
                notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
                dry_run=dry,
            )


def _given(value: float | None) -> bool:
    return value is not None


def _method(compensate: str | None, targeted: bool) -> str | None:
    if compensate == "auto":
        return "least_squares" if targeted else None
    if compensate is not None and compensate not in COMPENSATIONS:
        raise ValueError(
            f"compensate must be 'auto', None or one of {', '.join(map(repr, COMPENSATIONS))}, got {compensate!r}"
        )
    return compensate


def _importances(
    importance: tp.importance.Importance | None,
    goal: Goal,
    order: str,
    method: str | None,
    data: Any,
    options: CalibrationData,
) -> tuple[FOADImportance, tp.importance.Importance | None]:
    """What measures, and what ranks if that is something else."""
    if importance is not None and (isinstance(importance, type) or not callable(importance)):
        raise TypeError(f"importance must be an importance of Torch-Pruning, got {importance!r}")
    settings: dict[str, Any] = {"order": order if goal.kind != "rule" else "rounds"}
    ranker = importance
    if isinstance(importance, FOADImportance) and importance.data is None:
        # Its settings on this data: one calibration does for both.
        settings = {
            "order": importance.order,
            "neighbors": importance.neighbors,
            "threshold": importance.threshold,
        }
        ranker = None
    elif importance is not None:
        settings = {"order": "rounds"}
    measurer = FOADImportance(
        data,
        max_batches=options.max_batches,
        forward_fn=options.forward_fn,
        progress=options.progress,
        products=method is not None,
        **settings,
    )
    return measurer, ranker


def _images(call: Call) -> int | None:
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor) and value.dim()]
    return len(tensors[0]) if tensors else None
