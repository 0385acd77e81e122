"""Before channels go, their readers take over what they said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from ...calibration.collect import ForwardFn
from ...calibration.data import check_data, first_images, iter_calls, model_device, reusable
from ...calibration.preserve import preserve_state
from ...recovery.compensation import (
    COMPENSATIONS,
    RIDGE,
    fold_weights,
    least_squares_coefficients,
    representative_coefficients,
)
from .calibration import Calibration, CalibrationData, Places
from .graph import build_graph, prunable_groups
from .groups import full_group, group_reads
from .readers import Reader, place

__all__ = ["Compensator", "Removal", "WeightUpdate"]


class Compensator:
    """Lets layers take over channels that Torch-Pruning is about to remove, whatever importance chose them.

    For the interactive mode of Torch-Pruning's pruners, whose groups it takes before they are pruned::

        compensator = Compensator(model, images)
        for group in pruner.step(interactive=True):
            compensator(group)
            group.prune()

    Every convolution and linear layer that reads a removed channel gets new weights for the channels that stay, so that
    its output changes as little as a linear combination allows. Depthwise layers in between, flattened and concatenated
    maps and residual stages are followed to the layers that mix channels.

    Args:
        model: the network, before anything is removed; it is calibrated at once and left as it is until a group is
            given.
        data: calibration data as for :class:`~foad_plugins.FOADImportance`.
        method: ``"least_squares"`` spreads a removed channel over all that stay, ``"representative"`` hands it to the
            one that
            it resembles most.
        ridge: see :func:`~foad_plugins.recovery.compensation.least_squares_coefficients`.
        max_batches: use so many batches of ``data`` at most; None uses all.
        forward_fn: called as ``forward_fn(model, batch)``, for models that take their inputs in another way.
        progress: show a progress bar while calibrating.

    Raises:
        TypeError: data of another form.
        ValueError: an unknown method, no data, or NaN or Inf in a feature map (names the layer).

    Warns:
        InsufficientDataWarning: some layers saw fewer samples than they have channels.
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
        check_data(data)
        options = CalibrationData(max_batches, forward_fn, progress)
        with preserve_state(model):
            data = reusable(data, max_batches)
            first = next(iter_calls(data, model_device(model), 1))
            groups = prunable_groups(build_graph(model, first_images(first), forward_fn), [])
        self._take_over = WeightUpdate(
            Calibration(model, Places.of(groups, products=True), data, options, products=True), method, ridge
        )

    def __call__(self, group: tp.Group) -> list[nn.Module]:
        """Let the readers of a group take over the channels that ``group.prune()`` will remove.

        Args:
            group: as the pruner gives it, over the channels to be removed; groups given before have been pruned.

        Returns:
            The layers with new weights.

        Raises:
            RuntimeError: a layer is not as wide as the groups given before have left it.
        """
        return self._take_over([Removal(full_group(group), sorted(set(group[0].idxs)))])


@dataclass(frozen=True, eq=False)
class Removal:
    """Channels of a group that are about to go.

    Attributes:
        group: over all channels of its root.
        channels: of its root, that go.
        representative: for each of them the channel that it is handed to, where representatives take over; by default
            the kept channel
            with the least mean squared distance at each reader.
    """

    group: tp.Group
    channels: Sequence[int]
    representative: Mapping[int, int] = field(default_factory=dict)


class WeightUpdate:
    """Writes the weights that let readers take over removed channels, removal after removal.

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
        self._alive = [list(range(reader.units)) for reader in calibration.readers]
        self._widths = [reader.input_width for reader in calibration.readers]

    def __call__(self, removals: Sequence[Removal]) -> list[nn.Module]:
        """Rewrite the readers of some groups, whose channels are removed right after.

        Returns:
            The layers with new weights, each once.

        Raises:
            RuntimeError: a layer is not as wide as the removals so far have left it.
        """
        readers = [self._now(number) for number in range(len(self._alive))]
        going: list[dict[int, int]] = [{} for _ in readers]
        for removal in removals:
            for tap in {tap.key(): tap for tap in group_reads(removal.group).hook_points}.values():
                found = place(readers, tap)
                if found is not None:
                    number, rows = found
                    for channel in removal.channels:
                        going[number][rows[channel]] = (
                            rows[removal.representative[channel]] if removal.representative else -1
                        )
        changed: list[nn.Module] = []
        for number, reader in enumerate(readers):
            if going[number] and self._calibration.grams[number].samples:
                self._rewrite(reader, self._gram(number), going[number])
                changed.append(reader.layer)
            self._alive[number] = [unit for row, unit in enumerate(self._alive[number]) if row not in going[number]]
        return list(dict.fromkeys(changed))

    def _now(self, number: int) -> Reader:
        """A reader with its units as the removals so far have left them."""
        reader, alive = self._calibration.readers[number], set(self._alive[number])
        gone = {int(column) for unit in range(reader.units) if unit not in alive for column in reader.columns[unit]}
        left = torch.tensor(sorted(set(range(self._widths[number])) - gone))
        if not gone and reader.input_width == self._widths[number]:
            return reader
        if len(left) != reader.input_width:
            raise RuntimeError(
                f"a layer that takes channels over is {reader.input_width} wide and should be {len(left)}: call "
                "group.prune() after every group that was compensated, and compensate every group before it is pruned"
            )
        return Reader(reader.layer, torch.searchsorted(left, reader.columns[self._alive[number]]))

    def _gram(self, number: int) -> Tensor:
        index = torch.tensor(self._alive[number])
        return self._calibration.grams[number].compute()[index][:, index]

    def _rewrite(self, reader: Reader, gram: Tensor, going: Mapping[int, int]) -> None:
        parts = []
        for units, weight in zip(reader.parts, reader.weights(), strict=True):
            kept = [unit - units.start for unit in units if unit not in going]
            removed = [unit - units.start for unit in units if unit in going]
            inside = gram[units.start : units.stop, units.start : units.stop]
            if self._method == "least_squares":
                coefficients = least_squares_coefficients(inside, kept, removed, self._ridge)
            else:
                # A silent channel leaves nothing behind, and its weights would be noise on a representative that
                # speaks.
                loud = [unit for unit in units if unit in going and gram[unit, unit] > 0]
                representative = {unit - units.start: going[unit] - units.start for unit in loud}
                representative = {
                    unit: row if row in kept else _nearest(inside, unit, kept) for unit, row in representative.items()
                }
                coefficients = representative_coefficients(kept, removed, representative)
            parts.append(fold_weights(weight, coefficients, kept, removed))
        reader.write(parts)


def _nearest(gram: Tensor, unit: int, kept: Sequence[int]) -> int:
    """The kept unit at the least mean squared distance, ties to the lower index."""
    rows = torch.tensor(list(kept))
    return int(rows[(gram.diagonal()[rows] - 2 * gram[unit, rows]).argmin()])


def check_method(method: str) -> None:
    """Refuse what is no way to compensate.

    Raises:
        ValueError: with the known ways.
    """
    if method not in COMPENSATIONS:
        raise ValueError(f"compensate must be None or one of {', '.join(map(repr, COMPENSATIONS))}, got {method!r}")
