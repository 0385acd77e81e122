"""What a pruning call did, as data that prints itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ..allocation.group_curve import GroupCurve
from ..criterion.selection import Selection
from ..recovery.refitting.report import RefitReport

__all__ = [
    "ChannelPair",
    "GroupReport",
    "LatencyTrial",
    "LayerWidth",
    "ReportData",
]

Verification = Literal["verified", "not verifiable", "skipped"]


@dataclass(frozen=True)
class LayerWidth:
    """Output channels (or features) of a layer, and what the layer costs.

    Attributes:
        name: dotted name in the model.
        before: width before pruning.
        after: width after pruning.
        flops_before: the layer's FLOPs for one image before pruning, one multiply-add counted as one; None if not
            countable.
        flops_after: the same after pruning; it falls too where only the layer's input became narrower.
    """

    name: str
    before: int
    after: int
    flops_before: int | None = None
    flops_after: int | None = None


@dataclass(frozen=True, eq=False)
class ChannelPair:
    """A removed channel and its representative, at the input of a layer that consumes both, on one calibration image.

    Attributes:
        layer: the layer that consumes them.
        removed: the removed channel.
        representative: the kept channel it resembles most.
        similarity: of the two over all calibration images, in (0, 1].
        maps: (2, H, W) float32, the removed channel's map first.
    """

    layer: str
    removed: int
    representative: int
    similarity: float
    maps: Tensor


@dataclass(frozen=True)
class GroupReport:
    """One coupled group: channels that can only be removed together.

    Attributes:
        name: the root layer; the indices of ``selection`` are its output channels.
        layers: names of all layers that lost output channels with it, the root first.
        selection: the channels kept and removed, and each removed channel's representative. With several channel
            groups, indices within one of them.
        channel_groups: the number of equal parts of the channels that must lose the same relative indices, as in
            grouped convolutions; 1 for ordinary groups.
        verification: ``"verified"``: the pruned network gives the outputs of the original with the removed channels
            zeroed. ``"not verifiable"``: a normalization mixes removed and kept channels, so the outputs must differ.
            ``"skipped"``: not compared.
        similarity: (C, C) float32 on the CPU, of the channels that ``selection`` means; None if it was not measured.
        pairs: some removed channels and their representatives as images; empty where the maps are no images.
        curve: the loss by the number of removed channels, where the ranking was by sensitivity; else None.
    """

    name: str
    layers: tuple[str, ...]
    selection: Selection
    channel_groups: int = 1
    verification: Verification = "skipped"
    similarity: Tensor | None = field(default=None, repr=False, compare=False)
    pairs: tuple[ChannelPair, ...] = field(default=(), repr=False, compare=False)
    curve: GroupCurve | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class LatencyTrial:
    """One network that was timed in the search for a latency.

    Attributes:
        round_to: widths were multiples of this.
        flops: of the network, relative to the original's.
        latency: measured, relative to the original's.
    """

    round_to: int
    flops: float
    latency: float


@dataclass(frozen=True)
class ReportData:
    """What a pruning call did, without text and pictures.

    Attributes:
        layers: widths of all convolutions and linear layers, in the model's order.
        groups: the coupled groups that were scored, each with its channels and their representatives. With several
            steps, those of every step, with the indices of that step.
        params_before: parameters before pruning.
        params_after: parameters after pruning.
        flops_before: FLOPs for one image before pruning, one multiply-add counted as one; None if not countable.
        flops_after: the same after pruning.
        latency_before: median seconds of a call on the first calibration batch before pruning; None if not measured.
        latency_after: the same after pruning.
        batch_size: images in that call; None if not measured.
        compensated: names of the consumers whose weights compensate for removed channels.
        not_compensated: names of the consumers that lost inputs and cannot mix channels.
        latency_trials: the networks that were timed for a latency target.
        notes: what a user should know besides, one sentence each.
        dry_run: whether the model was left unchanged.
        refit: what the refit of the last step did; None without one.
        kept_layers: convolutions and linear layers from which no channel could be removed, by name, each with the
            reason.
    """

    layers: tuple[LayerWidth, ...]
    groups: tuple[GroupReport, ...]
    params_before: int
    params_after: int
    flops_before: int | None
    flops_after: int | None
    latency_before: float | None = None
    latency_after: float | None = None
    batch_size: int | None = None
    compensated: tuple[str, ...] = ()
    not_compensated: tuple[str, ...] = ()
    latency_trials: tuple[LatencyTrial, ...] = ()
    notes: tuple[str, ...] = ()
    dry_run: bool = False
    refit: RefitReport | None = None
    kept_layers: Mapping[str, str] = field(default_factory=dict)

    @property
    def removed(self) -> int:
        """Channels removed, counted at the groups' roots."""
        return sum(len(group.selection.removed) * group.channel_groups for group in self.groups)

    @property
    def channels(self) -> int:
        """Channels before pruning, counted at the groups' roots."""
        # With several steps a group appears once for each step; the first has all of its channels.
        firsts = {group.name: group for group in reversed(self.groups)}
        return sum(group.selection.num_channels * group.channel_groups for group in firsts.values())

    @property
    def coupled_groups(self) -> int:
        """How many coupled groups were scored, each counted once for all steps."""
        return len({group.name for group in self.groups})
