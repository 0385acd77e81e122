"""What a pruning call did, as data that prints itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ..criterion.selection import Selection

__all__ = [
    "ChannelPair",
    "GroupReport",
    "LatencyTrial",
    "LayerWidth",
    "ReportData",
]

Proof = Literal["proved", "not provable here", "not checked"]


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
    """A removed channel beside its representative, as a layer that reads both sees them on one calibration image.

    Attributes:
        layer: where the maps are read.
        removed: the channel that went.
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
    """One coupled group: channels that can only go together.

    Attributes:
        name: the layer whose output channels the indices of ``selection`` mean.
        layers: names of all layers that lost channels with it, the root first.
        selection: the channels kept and removed, and each removed channel's representative. Where channels fall into
            ``parts`` equal parts that lose the same relative indices (grouped convolutions), indices within a part.
        parts: the number of such parts; 1 for ordinary groups.
        proof: whether the removal was checked against the original with those channels zeroed where they are read.
            ``"not provable here"``: a normalization mixes removed and kept channels, so the two must differ.
        similarity: (C, C) float32 on the CPU, of the channels that ``selection`` means; None if it was not measured.
        pairs: some removed channels and their representatives as images; empty where the maps are no images.
    """

    name: str
    layers: tuple[str, ...]
    selection: Selection
    parts: int = 1
    proof: Proof = "not checked"
    similarity: Tensor | None = field(default=None, repr=False, compare=False)
    pairs: tuple[ChannelPair, ...] = field(default=(), repr=False, compare=False)


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
        groups: the coupled groups that were looked at, each with its channels and their representatives. With several
            steps,
            those of every step, one step after the other, with the indices of their step.
        params_before: parameters before pruning.
        params_after: parameters after pruning.
        flops_before: FLOPs for one image before pruning, one multiply-add counted as one; None if not countable.
        flops_after: the same after pruning.
        latency_before: median seconds of a call on the first calibration batch before pruning; None if not measured.
        latency_after: the same after pruning.
        batch_size: images in that batch; None if not measured.
        compensated: names of the readers whose weights took over what was removed.
        not_compensated: names of the readers that lost inputs but cannot mix channels.
        latency_trials: the networks that a latency target was sought among.
        notes: what a user should know besides, one sentence each.
        dry_run: whether the model was left as it was.
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

    @property
    def removed(self) -> int:
        """Channels removed, counted at the groups' roots."""
        return sum(len(group.selection.removed) * group.parts for group in self.groups)

    @property
    def channels(self) -> int:
        """Channels before pruning, counted at the groups' roots."""
        # With several steps a group stands in every one of them; there were as many channels as in the first.
        firsts = {group.name: group for group in reversed(self.groups)}
        return sum(group.selection.num_channels * group.parts for group in firsts.values())

    @property
    def coupled_groups(self) -> int:
        """How many coupled groups were looked at, each counted once however many steps there were."""
        return len({group.name for group in self.groups})
