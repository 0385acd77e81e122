"""Compensation: the layers that consume removed channels get new weights for the kept ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from ...calibration.data import CalibrationData, ForwardFn, model_device
from ...calibration.preserve import preserve_state
from ...recovery.compensation import (
    COMPENSATIONS,
    RIDGE,
    fold_weights,
    least_squares_coefficients,
    representative_coefficients,
)
from .calibration import Calibration, CalibrationPlan
from .consumers import Consumer, consumer_units
from .graph import build_graph, prunable_groups
from .groups import CoupledGroup

__all__ = ["Compensator", "Removal", "WeightUpdate", "check_method"]


class Compensator:
    """Compensates for channels that Torch-Pruning is about to remove, whatever importance chose them.

    For the interactive mode of Torch-Pruning's pruners; call it with each group before the group is pruned::

        compensator = Compensator(model, images)
        for group in pruner.step(interactive=True):
            compensator(group)
            group.prune()

    Every convolution and linear layer that consumes a removed channel gets new weights for the kept channels, so that
    its output changes as little as a linear combination allows. Depthwise layers in between, flattened and concatenated
    maps and residual stages are followed to the layers that mix channels.

    Args:
        model: the network, before anything is removed. It is calibrated at once and unchanged until the first group.
        data: calibration data as for :class:`~foad_plugins.FOADImportance`.
        method: ``"least_squares"`` replaces a removed channel by a combination of all kept ones, ``"representative"``
            by the kept channel that it resembles most.
        ridge: see :func:`~foad_plugins.recovery.compensation.least_squares_coefficients`.
        max_batches: use at most this many batches of ``data``; None uses all.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        progress: show a progress bar while calibrating.

    Raises:
        TypeError: data of another form.
        ValueError: an unknown method, no data, or NaN or Inf in a feature map (names the layer).

    Warns:
        InsufficientDataWarning: some layers got fewer samples than they have channels.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        method: str = "least_squares",
        *,
        ridge: float = RIDGE,
        max_batches: int | None = None,
        forward_fn: ForwardFn | None = None,
        progress: bool = False,
    ) -> None:
        check_method(method)
        source = CalibrationData(data, max_batches, forward_fn, progress)
        with preserve_state(model):
            source = source.reusable()
            example = source.first(model_device(model), images=1)
            groups = prunable_groups(build_graph(model, example, forward_fn), [])
        plan = CalibrationPlan.of(groups, products=True)
        self._update = WeightUpdate(Calibration(model, plan, source, products=True), method, ridge)

    def __call__(self, group: tp.Group) -> list[nn.Module]:
        """Compensate for the channels that ``group.prune()`` will remove.

        Args:
            group: from the pruner, over the channels to be removed; earlier groups have been pruned.

        Returns:
            The layers with new weights.

        Raises:
            RuntimeError: a layer does not have the width that the earlier groups leave.
        """
        return self._update([Removal(CoupledGroup.of(group), sorted(set(group[0].idxs)))])


@dataclass(frozen=True, eq=False)
class Removal:
    """Channels of a group that are about to be removed.

    Attributes:
        group: the group.
        channels: channels of its root that are removed.
        representatives: for each of them the channel that replaces it with the method ``"representative"``; by default
            the kept channel with the least mean squared distance at each consumer.
    """

    group: CoupledGroup
    channels: Sequence[int]
    representatives: Mapping[int, int] = field(default_factory=dict)


class WeightUpdate:
    """Writes weights that compensate for removed channels, removal after removal.

    Args:
        calibration: of the network before anything is removed, with products.
        method: ``"least_squares"`` or ``"representative"``.
        ridge: for least squares.
    """

    def __init__(self, calibration: Calibration, method: str, ridge: float = RIDGE) -> None:
        check_method(method)
        self._calibration = calibration
        self._method = method
        self._ridge = ridge
        self._kept = [list(range(consumer.num_units)) for consumer in calibration.consumers]
        self._widths = [consumer.input_width for consumer in calibration.consumers]

    def __call__(self, removals: Sequence[Removal]) -> list[nn.Module]:
        """Rewrite the consumers of some groups, whose channels are removed right after.

        Returns:
            The layers with new weights, each once.

        Raises:
            RuntimeError: a layer does not have the width that the earlier removals leave.
        """
        consumers = [self._current(number) for number in range(len(self._kept))]
        # For each consumer, the units to remove and their representatives; -1 for the nearest kept unit.
        removed: list[dict[int, int]] = [{} for _ in consumers]
        for removal in removals:
            for number, units in consumer_units(consumers, removal.group):
                for channel in removal.channels:
                    representative = removal.representatives.get(channel)
                    removed[number][units[channel]] = -1 if representative is None else units[representative]
        changed: list[nn.Module] = []
        for number, consumer in enumerate(consumers):
            if removed[number] and self._calibration.grams[number].samples:
                self._rewrite(consumer, self._gram(number), removed[number])
                changed.append(consumer.layer)
            self._kept[number] = [unit for row, unit in enumerate(self._kept[number]) if row not in removed[number]]
        return list(dict.fromkeys(changed))

    def _current(self, number: int) -> Consumer:
        """A consumer with the units that the removals so far have left."""
        consumer, kept = self._calibration.consumers[number], set(self._kept[number])
        removed = {
            int(index)
            for unit in range(consumer.num_units)
            if unit not in kept
            for index in consumer.channel_index[unit]
        }
        left = torch.tensor(sorted(set(range(self._widths[number])) - removed))
        if not removed and consumer.input_width == self._widths[number]:
            return consumer
        if len(left) != consumer.input_width:
            raise RuntimeError(
                f"a layer to compensate in has {consumer.input_width} input channels and should have {len(left)}: call "
                "group.prune() after every group that was compensated, and compensate every group before it is pruned"
            )
        return Consumer(consumer.layer, torch.searchsorted(left, consumer.channel_index[self._kept[number]]))

    def _gram(self, number: int) -> Tensor:
        index = torch.tensor(self._kept[number])
        return self._calibration.grams[number].compute()[index][:, index]

    def _rewrite(self, consumer: Consumer, gram: Tensor, replaced_by: Mapping[int, int]) -> None:
        weights = []
        for units, weight in zip(consumer.blocks, consumer.weights(), strict=True):
            kept = [unit - units.start for unit in units if unit not in replaced_by]
            removed = [unit - units.start for unit in units if unit in replaced_by]
            inside = gram[units.start : units.stop, units.start : units.stop]
            if self._method == "least_squares":
                coefficients = least_squares_coefficients(inside, kept, removed, self._ridge)
            else:
                # A channel that is zero on all data contributes nothing; folding its weights in would only add noise.
                active = [unit for unit in removed if inside[unit, unit] > 0]
                wanted = {unit: replaced_by[unit + units.start] - units.start for unit in active}
                representative = {
                    unit: row if row in kept else _nearest(inside, unit, kept) for unit, row in wanted.items()
                }
                coefficients = representative_coefficients(kept, removed, representative)
            weights.append(fold_weights(weight, coefficients, kept, removed))
        consumer.write(weights)


def _nearest(gram: Tensor, unit: int, kept: Sequence[int]) -> int:
    """The kept unit at the least mean squared distance, ties to the lower index."""
    rows = torch.tensor(list(kept))
    return int(rows[(gram.diagonal()[rows] - 2 * gram[unit, rows]).argmin()])


def check_method(method: str) -> None:
    """Refuse an unknown compensation.

    Raises:
        ValueError: with the known ones.
    """
    if method not in COMPENSATIONS:
        raise ValueError(f"compensate must be None or one of {', '.join(map(repr, COMPENSATIONS))}, got {method!r}")
