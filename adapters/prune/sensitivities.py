"""Sensitivity of a model's output to each coupled group, and the pruning ratios that follow for a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from ...allocation.curves import Sensitivity
from ...allocation.identity import model_digest
from ...calibration.data import CalibrationData, ForwardFn, check_data, model_device
from ...calibration.preflight import check_forward
from ...calibration.preserve import preserve_state
from ...calibration.split import check_two_parts
from ...criterion.ordering import check_order
from ...recovery.compensation import COMPENSATIONS
from ..torch_pruning.graph import build_graph, prunable_groups
from ..torch_pruning.guards import check_no_parametrization, check_prunable
from ..torch_pruning.importance import FOADImportance
from .arguments import resolve_layers
from .cost_model import CostModel
from .model_size import measure
from .probes import DEFAULT_PROBES, Loss, check_loss, check_probes, measure_curves
from .ranking import RankingCache

__all__ = ["sensitivity", "sensitivity_ratios"]


@torch.inference_mode(False)
def sensitivity(
    model: nn.Module,
    data: Any,
    *,
    ignored_layers: Sequence[nn.Module | str] = (),
    importance: tp.importance.Importance | None = None,
    order: str = "reconstruction",
    compensate: str | None = "least_squares",
    loss: Loss = "output",
    probes: str | Sequence[float] = DEFAULT_PROBES,
    max_batches: int | None = None,
    forward_fn: ForwardFn | None = None,
    progress: bool = False,
) -> Sensitivity:
    """Measure how much the model's output changes when channels of each coupled group are removed.

    For a group and a share of its channels, the layers that consume the channels get what compensation would leave of
    their input, and the output is compared with the original's, on images that the compensation was not fitted on.
    Labels are not used. With the default one share of each group is measured, on a quarter of the images; the rest of
    each curve follows from the local error, which needs no forward pass.

    The result gives the widths of least loss for any target::

        curves = sensitivity(model, images)
        print(curves.widths(flops=0.5, params=0.4))
        curves.save("curves.json")

    Args:
        model: unchanged; train flags, frozen parameters and hooks are as before.
        data: calibration data as for :class:`~foad_plugins.FOADImportance`: at least two images, better 256.
        ignored_layers: layers that keep all output channels, as modules or dotted names; they get no curve.
        importance: any importance of Torch-Pruning whose order of channels to measure, instead of FOAD's.
        order: how FOAD orders channels, see :func:`~foad_plugins.elimination_order`.
        compensate: how removed channels will be compensated for: ``"least_squares"`` (measure so for a refit too),
            ``"representative"``, or None.
        loss: ``"output"`` compares all tensors that the model returns, each in units of its variance; ``"kl"`` takes
            them as logits; or a function called as ``loss(model)`` that gives a number, lower for better, which may
            use labels. See :class:`~foad_plugins.allocation.OutputDifference`.
        probes: shares of a group's channels at which the loss is measured, each a forward pass over a quarter of the
            images; ``"grid"`` measures at all of 1/8, 2/8, ..., 7/8.
        max_batches: use this many batches of ``data`` at most; None uses all.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way, or whose
            outputs need a transform before they can be compared.
        progress: show progress bars.

    Returns:
        One curve for each group that can be pruned; print it, plot it, ask it for widths.

    Raises:
        TypeError: an argument of another form; outputs without floating-point tensors.
        ValueError: an argument out of its range, data that the model does not run on or a single image, a model
            without layers to prune, outputs that are random or hold NaN.

    Warns:
        InsufficientDataWarning: fewer samples than channels.
        AmbiguousDataWarning: a tuple that may hold batches.
        UnscoredGroupWarning: a group has no feature map that can be read, and gets no curve.
    """
    check_prunable(model)
    check_data(data)
    check_order(order)
    check_loss(loss)
    shares = check_probes(probes)
    if compensate is not None and compensate not in COMPENSATIONS:
        raise ValueError(f"compensate must be None or one of {', '.join(map(repr, COMPENSATIONS))}, got {compensate!r}")
    if importance is not None and (isinstance(importance, type) or not callable(importance)):
        raise TypeError(f"importance must be an importance of Torch-Pruning, got {importance!r}")
    source = CalibrationData(data, max_batches, forward_fn, progress).for_model(model)
    ignored = resolve_layers(model, ignored_layers, "ignored_layers")
    with preserve_state(model):
        source = source.reusable()
        check_two_parts(source.data, max_batches)
        example = source.first(model_device(model), images=1)
    check_forward(model, example, forward_fn)
    with preserve_state(model):
        graph = build_graph(model, example, forward_fn)
    left_out = [module for layer in ignored for module in layer.modules()]
    groups = [group for group in prunable_groups(graph, left_out) if not group.is_output]
    if not groups:
        raise ValueError("the model has no convolution or linear layer whose channels could be pruned")
    place = {name: number for number, (name, _) in enumerate(model.named_modules())}
    groups.sort(key=lambda group: place.get(group.name, len(place)))
    check_no_parametrization(model, groups)
    foad = FOADImportance(
        source.data,
        order=order if importance is None else "rounds",
        max_batches=max_batches,
        forward_fn=forward_fn,
        progress=progress,
    )
    foad.calibrate_groups(groups)
    ranked = RankingCache(foad, importance)
    candidates = [candidate for group in groups if (candidate := ranked.candidate(group)) is not None]
    found = measure_curves(model, candidates, source, method=compensate, loss=loss, probes=shares)
    notes = found.notes
    if ranked.unscored:
        notes = (*notes, f"{type(importance).__name__} scores no channels of {', '.join(ranked.unscored)}: no curve")
    size = measure(model, example, forward_fn)
    return Sensitivity(
        groups=found.curves,
        costs=CostModel([one.group for one in candidates], size.table, counted=size.counted).layers,
        loss=loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__),
        images=found.images,
        passes=found.passes,
        seconds=found.seconds,
        digest=model_digest(model),
        notes=notes,
    )


def sensitivity_ratios(
    model: nn.Module,
    data: Any,
    *,
    flops: float | None = None,
    params: float | None = None,
    pruning_ratio: float | None = None,
    round_to: int = 1,
    max_pruning_ratio: float = 1.0,
    **options: Any,
) -> dict[nn.Module, float]:
    """Pruning ratios by sensitivity, for any pruner of Torch-Pruning.

    Pass the dict to the pruner unchanged; any importance can choose the channels::

        ratios = sensitivity_ratios(model, images, flops=0.5)
        pruner = tp.pruner.MetaPruner(
            model, images[:1], importance=tp.importance.GroupMagnitudeImportance(), pruning_ratio=0.0,
            pruning_ratio_dict=ratios,
        )
        pruner.step()

    Args:
        model: unchanged.
        data: as for :func:`sensitivity`.
        flops: share of the FLOPs to keep, in (0, 1).
        params: share of the parameters to keep, in (0, 1); beside ``flops`` both targets are met.
        pruning_ratio: share of all channels to remove, in [0, 1); alone.
        round_to: widths of the groups are multiples of this, or unchanged.
        max_pruning_ratio: the largest share that a group may lose, in [0, 1].
        options: the other arguments of :func:`sensitivity`.

    Returns:
        The ratio of every layer that loses output channels with a group, those of 0 included.

    Raises:
        TypeError, ValueError: as :func:`sensitivity` and :meth:`~foad_plugins.allocation.Sensitivity.widths`.
    """
    curves = sensitivity(model, data, **options)
    return curves.ratios(
        model,
        flops=flops,
        params=params,
        pruning_ratio=pruning_ratio,
        round_to=round_to,
        max_pruning_ratio=max_pruning_ratio,
    )
