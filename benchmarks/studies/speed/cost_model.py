"""What a calibration should cost, from the shapes it reads and three figures of the machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor, nn

from ....adapters.torch_pruning.graph import build_graph, prunable_groups
from ....adapters.torch_pruning.groups import CoupledGroup
from ....calibration.collect import calibrate
from ....calibration.data import CalibrationData, Call
from ....calibration.observers import ChannelSet
from ....calibration.preserve import preserve_state
from ....criterion.kernels.panels import Sums
from ....criterion.similarity import ChannelStatistics

_PANEL = 64


@dataclass(frozen=True)
class Machine:
    """How fast a machine is at what a calibration is made of.

    Attributes:
        rate: multiply-adds of a matrix product in a second.
        pair: seconds for all the rest, for a pair of channels in an image.
        call: seconds to take up a tensor, however small.
    """

    rate: float
    pair: float
    call: float

    @classmethod
    def measured(cls) -> Machine:
        """Measured on three shapes: one that is all product, one that is nearly all pairs, one that is next to none."""
        long, short = _best(torch.randn(4, 256, 8192)), _best(torch.randn(32, 512, 16))
        rate, pair = 1e11, 1e-9
        for _ in range(20):
            rate = 4 * pairs(256) * 8192 / max(long - 4 * pairs(256) * pair, long / 2)
            pair = max(short - 32 * pairs(512) * 16 / rate, short / 4) / (32 * pairs(512))
        return cls(rate, pair, _best(torch.randn(1, 8, 16)))

    def seconds(self, shapes: Sequence[tuple[int, int, int]]) -> float:
        """For tensors read, each (N, C, L): N * C * (C + 64) / 2 pairs, each of them L multiply-adds and one rest."""
        work = sum(count * pairs(channels) * (length / self.rate + self.pair) for count, channels, length in shapes)
        return work + len(shapes) * self.call

    def seen(
        self, model: nn.Module, reads: Sequence[ChannelSet], images: Tensor
    ) -> tuple[list[tuple[int, int, int]], int]:
        """The shapes a calibration reads, each tensor once for a group, and the bytes of the sums it keeps."""
        shapes: list[tuple[int, int, int]] = []
        update = ChannelStatistics.update_async

        def note(statistics: ChannelStatistics, features: Tensor, **options: bool) -> Sums:
            shapes.append((len(features), features.shape[1], max(1, features[0, 0].numel())))
            return update(statistics, features, **options)

        with mock.patch.object(ChannelStatistics, "update_async", note):
            statistics = calibrate(model, CalibrationData(images[:1]), reads)[0]
        kept = sum(int(8 * pairs(one.num_channels)) for one in statistics if one.count)
        return [(len(images), channels, length) for _, channels, length in shapes], kept


def pairs(channels: int) -> float:
    """How many pairs of C channels are computed: half of them, and half a panel a channel."""
    return channels * (channels + min(channels, _PANEL)) / 2


def reads_of(model: nn.Module, image: Tensor) -> list[CoupledGroup]:
    """Where the coupled groups of a model are read."""
    with preserve_state(model):
        graph = build_graph(model, Call((image,), image))
    return list({group.key(): group for group in prunable_groups(graph, [])}.values())


def _best(maps: Tensor, tries: int = 7) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for _ in range(tries):
        start = clock()
        ChannelStatistics(maps.shape[1]).update(maps)
        times.append(clock() - start)
    return sorted(times)[tries // 2]
