"""The configuration of one call of ``prune``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch_pruning as tp
from torch import nn

from ...calibration.data import CalibrationData, Call, ForwardFn, first_images
from ..torch_pruning.importance import FOADImportance
from .search import Ranking

__all__ = ["PruneConfig"]

# Two images are enough to tell wrong channels from right ones.
_VERIFICATION_IMAGES = 2


@dataclass(frozen=True, eq=False)
class PruneConfig:
    """What is the same in every step of a call of :func:`~foad_plugins.prune`, validated.

    Attributes:
        data: calibration data that can be read more than once.
        batch: the first batch, on which latency is measured; its first images if it is large.
        importance: collects similarity and products; ranks as well, unless there is a ``ranker``.
        ranker: another importance of Torch-Pruning to rank by; None for ``importance``.
        ignored: layers whose output channels are kept.
        ranking: how groups compete.
        round_to: widths end at multiples of this.
        ratios: the share that the groups of some layers lose whatever the target.
        max_ratios: the share that a group may lose at most, by layer.
        max_ratio: the same for all other groups.
        compensate: how consumers compensate for removed channels; None for not at all.
        reestimate_bn: whether to correct the statistics of batch normalization.
        verify: whether to verify the removal.
        on_wrong_removal: ``"keep"`` or ``"error"``, where channels of a group cannot be removed rightly.
        max_trace_seconds: how long it may take to collect the coupled groups.
        max_memory: the limit of ``importance`` for sums of similarities; None for none.
    """

    data: CalibrationData
    batch: Call
    importance: FOADImportance
    ranker: tp.importance.Importance | None
    ignored: Sequence[nn.Module]
    ranking: Ranking
    round_to: int
    ratios: Mapping[nn.Module, float]
    max_ratios: Mapping[nn.Module, float]
    max_ratio: float
    compensate: str | None
    reestimate_bn: bool
    verify: bool
    on_wrong_removal: str
    max_trace_seconds: float
    max_memory: float | None = None

    @property
    def forward_fn(self) -> ForwardFn | None:
        """How the model is called; None for directly."""
        return self.data.forward_fn

    @property
    def example(self) -> Call:
        """One image."""
        return first_images(self.batch)

    @property
    def sample(self) -> Call:
        """The images on which a removal is verified."""
        return first_images(self.batch, _VERIFICATION_IMAGES)
