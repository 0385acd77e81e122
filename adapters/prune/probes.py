"""Measuring how much a model's output changes when channels of one coupled group are removed and compensated for."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ...allocation.carry import carried_losses
from ...allocation.group_curve import GroupCurve
from ...allocation.loss import LOSSES, OutputDifference
from ...calibration.collect import calibrate
from ...calibration.data import CalibrationData, Call, model_device
from ...calibration.preserve import preserve_state
from ...calibration.split import EVERY, FitPart, measured_part
from ..torch_pruning.consumers import find_consumers
from ..torch_pruning.groups import NORMS
from ..torch_pruning.replacement import ConsumerGrams, GroupReplacement, InputReplacement, replaced_inputs
from .search import Candidate

__all__ = ["DEFAULT_PROBES", "GRID", "Loss", "MeasuredCurves", "check_loss", "check_probes", "measure_curves"]

Loss = str | Callable[[nn.Module], Any]

GRID = tuple(number / 8 for number in range(1, 8))
"""The shares of a group's channels at which the full grid measures the loss."""

DEFAULT_PROBES = (0.5,)

# Shares at which the error at the consumers is computed beside those of the grid; it needs no forward pass.
_LAST = (15 / 16, 31 / 32)
# A probe whose error is below this share of the curve's largest says nothing about larger shares.
_SILENT = 1e-3


@dataclass(frozen=True)
class MeasuredCurves:
    """What probing gave.

    Attributes:
        curves: one for each candidate.
        images: how many images the loss was measured on; None where batches do not tell.
        passes: forward passes over all of the data that the probes amount to.
        seconds: of all of it.
        notes: one sentence each.
    """

    curves: tuple[GroupCurve, ...]
    images: int | None
    passes: float
    seconds: float
    notes: tuple[str, ...]


def measure_curves(
    model: nn.Module,
    candidates: Sequence[Candidate],
    data: CalibrationData,
    *,
    method: str | None,
    loss: Loss = "output",
    probes: Sequence[float] = DEFAULT_PROBES,
) -> MeasuredCurves:
    """Measure the loss of every group by the number of its channels that are removed.

    The reconstruction that stands for removed channels is fitted on three quarters of the images, and the loss is
    measured on the others. At the shares of ``probes`` the consumers of a group get the reconstructed input, and the
    model's output is compared with the original's. The other points of a curve follow from the local error at the
    consumers, see :func:`~foad_plugins.allocation.carry.carried_losses`.

    Args:
        model: unchanged, also after an exception.
        candidates: groups with the order in which their channels are removed.
        data: calibration data that can be read more than once.
        method: how removed channels will be compensated for; None for not at all.
        loss: ``"output"``, ``"kl"``, or a function of the model that gives a number, lower for better.
        probes: shares of the channels in (0, 1) at which the loss is measured.

    Raises:
        TypeError: outputs without floating-point tensors, or a loss that gives no number.
        ValueError: a single image, outputs that differ from call to call or hold NaN, or a loss that is not finite for
            the model itself.
    """
    started = time.perf_counter()
    consumers = find_consumers(candidate.group for candidate in candidates)
    sets = [consumer.channel_set for consumer in consumers]
    with preserve_state(model):
        device = model_device(model)
        calls = measured_part(data.data, device, data.max_batches)
        fit_part = FitPart(data.data, device, data.max_batches)
        fitted = calibrate(model, replace(data, data=fit_part, max_batches=None), [], sets)[1]
        held_out = calibrate(model, CalibrationData(calls, forward_fn=data.forward_fn), [], sets)[1]
    grams = ConsumerGrams(consumers, fitted, held_out)
    with preserve_state(model), torch.inference_mode(False), torch.no_grad():
        difference = _Difference(model, calls, data, loss)
        curves, notes = [], []
        for candidate in tqdm(candidates, desc="sensitivity", unit="group", disable=not data.progress):
            curve, note = _curve(candidate, grams, method, difference, probes)
            curves.append(curve)
            notes += note
    images = [_images(call) for call in calls]
    total = sum(image for image in images if image is not None) if None not in images else None
    # One pass for the products, and each probe over the images to measure on.
    passes = 1 + difference.calls / len(calls) / EVERY
    return MeasuredCurves(tuple(curves), total, passes, time.perf_counter() - started, tuple(notes))


def check_loss(loss: object) -> None:
    """Refuse what measures nothing.

    Raises:
        TypeError: neither a name nor a function.
        ValueError: an unknown name.
    """
    if not isinstance(loss, str) and not callable(loss):
        raise TypeError(f"loss must be {' or '.join(map(repr, LOSSES))}, or callable as loss(model), got {loss!r}")
    if isinstance(loss, str) and loss not in LOSSES:
        raise ValueError(f"loss must be {' or '.join(map(repr, LOSSES))}, or callable as loss(model), got {loss!r}")


def check_probes(probes: object) -> tuple[float, ...]:
    """Shares to measure at, validated and ascending; ``"grid"`` is all seven.

    Raises:
        TypeError: no shares.
        ValueError: none at all, or one outside (0, 1).
    """
    if probes == "grid":
        return GRID
    if isinstance(probes, str) or not isinstance(probes, Sequence):
        raise TypeError(f"probes must be 'grid' or shares of channels in (0, 1), got {probes!r}")
    if not probes or any(isinstance(p, bool) or not isinstance(p, Real) or not 0 < float(p) < 1 for p in probes):
        raise ValueError(f"probes must be 'grid' or shares of channels in (0, 1), got {probes!r}")
    return tuple(sorted({float(share) for share in probes}))


class _Difference:
    """How far the model is from what it was, on the images to measure on.

    Attributes:
        calls: how many batches the model was called with.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Call], data: CalibrationData, loss: Loss) -> None:
        self._model, self._batches, self._forward_fn, self._loss = model, batches, data.forward_fn, loss
        self.calls = 0
        if isinstance(loss, str):
            self._output: OutputDifference | None = OutputDifference(self._run(), loss)
            again = self._output(self._run())
            if not again <= 1e-6:
                raise ValueError(
                    f"the model gives other outputs each time it is called (a difference of {again:.2g}, though torch, "
                    "NumPy and random start from the same seed): switch off what is random in it, or give a forward_fn "
                    "that does"
                )
            self._base = 0.0
        else:
            self._output = None
            self._base = 0.0
            self._base = self()
            if not math.isfinite(self._base):
                raise ValueError(f"loss must give a finite number for the unpruned model, got {self._base!r}")

    def __call__(self) -> float:
        """The loss now, minus that of the original; not finite where it cannot be measured."""
        if self._output is not None:
            return self._output(self._run())
        assert callable(self._loss)
        _start_generators()
        self.calls += len(self._batches)
        found = self._loss(self._model)
        if isinstance(found, Tensor) and found.numel() == 1:
            found = found.item()
        if isinstance(found, bool) or not isinstance(found, Real):
            raise TypeError(f"loss must give a number, got {found!r}")
        return float(found) - self._base

    def _run(self) -> Iterator[Any]:
        for call in self._batches:
            # Dropout and the like draw the same numbers each time.
            _start_generators()
            self.calls += 1
            yield call.run(self._model, self._forward_fn)


def _curve(
    candidate: Candidate,
    grams: ConsumerGrams,
    method: str | None,
    difference: _Difference,
    probes: Sequence[float],
) -> tuple[GroupCurve, list[str]]:
    """The curve of one group, and notes."""
    channels = len(candidate.sequence)
    replacement = GroupReplacement(candidate.group, grams, method)
    probed = sorted({min(max(round(share * channels), 1), channels - 1) for share in probes} - {0})
    shares = sorted({*(round(share * channels) for share in (*GRID, *_LAST)), *probed, channels - 1})
    counts = [count for count in shares if 0 < count < channels]

    def without(count: int) -> tuple[list[InputReplacement], float | None]:
        return replacement.at(candidate.group.root_indices(candidate.sequence[:count]))

    def local_error(count: int) -> float:
        error = without(count)[1]
        return count / channels if error is None else error

    misread = False

    def measure(count: int) -> float:
        nonlocal misread
        try:
            with replaced_inputs(without(count)[0]):
                return difference()
        except IndexError:
            misread = True
            return math.nan

    errors = [local_error(count) for count in counts]
    known = dict(zip(counts, errors, strict=True))

    losses: dict[int, float] = {}
    limit: int | None = None
    for count in probed:
        if limit is not None and count > limit:
            break
        value = measure(count)
        while not math.isfinite(value):
            smaller = [other for other in counts if other < count]
            limit = count = smaller[-1] if smaller else 0
            if count == 0 or count in losses:
                break
            value = measure(count)
        else:
            losses[count] = value
    largest = max(errors, default=0.0)
    if losses and limit is None and known[max(losses)] < _SILENT * largest:
        last = max(losses)
        count = next((count for count in counts if count > last and known[count] >= _SILENT * largest), last)
        value = measure(count)
        if math.isfinite(value):
            losses[count] = value
        else:
            limit = last
    notes = []
    if misread:
        limit = 0
        notes.append(
            f"channels of layer {candidate.group.name!r} are consumed in another way than Torch-Pruning's graph tells, "
            "so none is removed"
        )
    elif limit is not None:
        notes.append(
            f"the output is not finite when more than {limit} of {channels} channels of layer "
            f"{candidate.group.name!r} are replaced, so no more are removed"
        )
    if limit is not None:
        counts = [count for count in counts if count <= limit]
        errors = errors[: len(counts)]
    graph_names = candidate.group.group._DG._module2name
    layers = [layer for layer in candidate.group.layers if not isinstance(layer, NORMS)]
    names = dict.fromkeys(graph_names[layer] for layer in layers if graph_names.get(layer))
    curve = GroupCurve(
        name=candidate.group.name,
        layers=tuple(names),
        channels=channels,
        parts=candidate.group.channel_groups,
        removed=tuple(counts),
        errors=tuple(errors),
        losses=tuple(carried_losses(counts, errors, losses)),
        measured=tuple(count in losses for count in counts),
        limit=limit,
    )
    return curve, notes


def _start_generators() -> None:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)


def _images(call: Call) -> int | None:
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor) and value.dim()]
    return len(tensors[0]) if tensors else None
