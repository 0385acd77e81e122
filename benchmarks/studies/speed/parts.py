"""The parts of a calibration, in forward passes: the same rows on a CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from unittest import mock

import torch
import torch_pruning as tp
from torch import Tensor, nn

from .... import FOADImportance
from ....adapters.torch_pruning.consumers import find_consumers
from ....adapters.torch_pruning.graph import build_graph, prunable_groups
from ....adapters.torch_pruning.groups import CoupledGroup
from ....calibration.collect import calibrate
from ....calibration.data import CalibrationData, Call
from ....calibration.preserve import preserve_state
from ....criterion.kernels.panels import Sums
from ....criterion.similarity import ChannelStatistics
from ...criteria.spec import CriterionContext
from ...criteria.taylor import Taylor
from .cost_model import reads_of
from .timing import forward, interleaved


def parts_of(
    name: str,
    model: nn.Module,
    batches: Sequence[Tensor],
    rounds: int,
    seconds: Callable[[Callable[[], object]], float],
) -> Iterator[tuple[str, float, str]]:
    """What each part takes, its number and unit; all but the first in forward passes on the same images.

    Args:
        name: of the network, for the rows.
        model: a classifier in eval mode.
        batches: of images, on the model's device.
        rounds: how often each part is timed, interleaved.
        seconds: runs a part and measures it.
    """
    reads, data = reads_of(model, batches[0][:1]), CalibrationData(list(batches))
    grams = [consumer.channel_set for consumer in find_consumers(reads)]
    labels = torch.zeros(sum(map(len, batches)), dtype=torch.long)
    taylor = Taylor(CriterionContext(torch.cat(list(batches)), 0, labels), batch_size=min(64, len(batches[0])))
    times = interleaved(
        {
            "forward": partial(forward, model, batches),
            "hooks": lambda: _without_sums(model, data, reads),
            "read": lambda: calibrate(model, data, reads),
            "products": lambda: calibrate(model, data, reads, grams),
            "whole": lambda: FOADImportance(list(batches)).calibrate(model),
            "all": lambda: FOADImportance(list(batches), products=True).calibrate(model),
            "taylor": lambda: taylor.calibrate(model),
            "l1": lambda: _l1(model, batches[0][:1]),
        },
        rounds,
        seconds,
    )

    def passes(part: str, less: str | None = None) -> float:
        base = [0.0] * rounds if less is None else times[less]
        return median((a - b) / c for a, b, c in zip(times[part], base, times["forward"], strict=True))

    yield f"forward pass of {name}", 1e3 * median(times["forward"]), "ms"
    yield "hooks alone: calibration with the sums left out, without tracing", passes("hooks"), ""
    yield "similarities alone", passes("read", "hooks"), ""
    yield "products alone, beside similarities", passes("products", "read"), ""
    yield "calibration without tracing", passes("read"), ""
    yield "whole calibration", passes("whole"), ""
    yield "whole calibration with products, as prune() makes it", passes("all"), ""
    yield "Taylor", passes("taylor"), ""
    yield "L1, with tracing", passes("l1"), ""


def _without_sums(model: nn.Module, data: CalibrationData, reads: Sequence[CoupledGroup]) -> None:
    def nothing(statistics: ChannelStatistics, features: Tensor, **options: bool) -> Sums:
        zero = features.new_zeros(())
        return Sums(zero, zero)

    with mock.patch.object(ChannelStatistics, "update_async", nothing):
        calibrate(model, data, reads)


def _l1(model: nn.Module, image: Tensor) -> None:
    importance = tp.importance.GroupMagnitudeImportance(p=1)
    with preserve_state(model):
        groups = prunable_groups(build_graph(model, Call((image,), image)), [])
    for group in groups:
        importance(group.group)
