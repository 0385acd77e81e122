"""Statistics of a model's coupled groups, valid while the model is unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ...calibration.collect import calibrate
from ...calibration.data import CalibrationData, model_device
from ...calibration.fingerprint import ModelFingerprint
from ...calibration.observers import ChannelSet
from ...calibration.passes import memory_in_bytes, split_into_passes
from ...criterion.block_elimination import PatchTerm
from ...criterion.gram import GramStatistics
from ...criterion.reconstruction import ReconstructionTerm
from ...criterion.similarity import ChannelStatistics
from ...recovery.patch_statistics import PatchStatistics, patch_statistics
from ...recovery.refitting.patches import LayerMatrix
from ...utils.text import enumerate_some
from ...utils.warnings import InsufficientDataWarning, warn
from .consumers import Consumer, find_consumers, patch_terms, reconstruction_terms
from .groups import CoupledGroup

__all__ = ["Calibration", "CalibrationPlan"]


@dataclass(frozen=True)
class CalibrationPlan:
    """What to observe for a model's groups, without the groups, so that their memory can be freed.

    Attributes:
        channel_sets: of the groups, each set of hook points once.
        consumers: the layers whose input products are needed; empty for a calibration without products.
        output_widths: of the layers whose channels are the model's output, each with its name.
    """

    channel_sets: Sequence[ChannelSet]
    consumers: Sequence[Consumer]
    output_widths: Mapping[nn.Module, tuple[str, int]]

    @classmethod
    def of(cls, groups: Iterable[CoupledGroup], *, products: bool) -> CalibrationPlan:
        """For some groups, with products or without; each may be freed before the next one is made."""
        sets: list[ChannelSet] = []
        outputs: dict[nn.Module, tuple[str, int]] = {}
        for group in groups:
            sets.append(ChannelSet(group.name, group.num_channels, group.hook_points))
            if group.is_output:
                outputs[group.group[0].dep.target.module] = group.name, group.num_channels
        distinct = {one.key(): one for one in sets}
        return cls(list(distinct.values()), find_consumers(sets) if products else [], outputs)


class Calibration:
    """One run over calibration data: similarity of the channels of every group, and products of the consumers' inputs.

    Args:
        model: left unchanged.
        plan: what to observe.
        data: what to run the model over.
        products: whether the plan has products.
        patches: whether to collect the input patches of the consumers as well, in another run; only with products.
        max_memory: for the sums of similarities: bytes (int), or a share of the device's memory (float). Groups beyond
            it wait for another run over the data, made when one of them is asked for; the sums of the groups before
            are then freed. None needs one run.

    Attributes:
        consumers: the layers that consume the groups; empty without products.
        grams: the products of their inputs, in the same order.

    Raises:
        TypeError: a batch of a form that is not accepted.
        ValueError: as :func:`~foad_plugins.calibration.collect.calibrate`.

    Warns:
        InsufficientDataWarning: there are fewer samples than channels for the products of some layers.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: CalibrationPlan,
        data: CalibrationData,
        *,
        products: bool = False,
        patches: bool = False,
        max_memory: float | None = None,
    ) -> None:
        self.consumers = plan.consumers
        self._passes = [list(plan.channel_sets)]
        if max_memory is not None:
            limit = memory_in_bytes(max_memory, model_device(model) or torch.device("cpu"))
            self._passes = split_into_passes(plan.channel_sets, limit)
        self._data = data = data.reusable() if patches or len(self._passes) > 1 else data
        channel_sets = [consumer.channel_set for consumer in self.consumers]
        statistics, self.grams = calibrate(model, data, self._passes[0], channel_sets)
        self._statistics = {one.key(): found for one, found in zip(self._passes[0], statistics, strict=True)}
        self._products = products
        self._patches: dict[nn.Module, PatchStatistics] | None = None
        if patches:
            layers = dict.fromkeys(one.layer for one in self.consumers if LayerMatrix(one.layer).groups == 1)
            self._patches = patch_statistics(model, list(layers), data)
        self._fingerprint = ModelFingerprint(model)
        _warn_of_insufficient_data(model, self.consumers, self.grams)

    def is_of(self, model: nn.Module, *, products: bool = False, patches: bool = False) -> bool:
        """Whether this is a calibration of the model as it is now, with products and patches if they are needed."""
        known = (self._products or not products) and (self._patches is not None or not patches)
        return known and self._fingerprint.matches(model)

    def similarity(self, group: CoupledGroup) -> ChannelStatistics | None:
        """The statistics of a group; None if it was not calibrated.

        Makes another run over the data if they wait for one or have been released.

        Raises:
            ValueError: as for the first run.
        """
        key = group.key()
        if key not in self._statistics:
            waiting = next((some for some in self._passes if any(one.key() == key for one in some)), None)
            if waiting is None:
                return None
            # Freed first, so that the sums of two runs are never in memory together.
            self._statistics = {}
            statistics, _ = calibrate(group.group._DG.model, self._data, waiting)
            self._statistics = {one.key(): found for one, found in zip(waiting, statistics, strict=True)}
        return self._statistics.get(key)

    def release(self, group: CoupledGroup) -> None:
        """Free the sums of a group's similarities."""
        self._statistics.pop(group.key(), None)

    def terms(self, group: CoupledGroup) -> list[ReconstructionTerm]:
        """The terms of a group's reconstruction order; empty if none of its consumers ran."""
        return reconstruction_terms(group, self.consumers, self.grams)

    def patch_terms(self, group: CoupledGroup) -> list[PatchTerm]:
        """The terms of a group's order by patches; empty if no consumer with one weight group ran."""
        return patch_terms(group, self.consumers, self._patches or {})


def _warn_of_insufficient_data(
    model: nn.Module, consumers: Sequence[Consumer], grams: Sequence[GramStatistics]
) -> None:
    names = {module: name or type(module).__name__ for name, module in model.named_modules()}
    insufficient = [
        f"{names[consumer.layer]!r} ({gram.samples} for {consumer.num_units} channels)"
        for consumer, gram in zip(consumers, grams, strict=True)
        if 0 < gram.samples < consumer.num_units
    ]
    if insufficient:
        warn(
            "fewer samples (images times positions) than channels at the input of "
            f"{enumerate_some(insufficient, 3)}: regression between the channels depends on its penalty there. "
            "Give more calibration images.",
            InsufficientDataWarning,
        )
