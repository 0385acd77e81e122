from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from foad_plugins import AmbiguousDataWarning, FOADImportance, prune, recover, refit, sensitivity
from foad_plugins.calibration.tuples import tuple_as_batches
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, seeded_norms

IMAGES = torch.rand(16, 3, 8, 8, generator=generator())
BATCHES = IMAGES.split(6)


class _Optional(Chain):
    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        return super().forward(x)


class _Pair(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left - right


def test_more_tensors_than_inputs_are_batches():
    assert tuple_as_batches(Chain(), BATCHES) == list(BATCHES)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (_Pair, BATCHES[:2]),
        (Chain, (IMAGES,)),
        (Chain, (IMAGES, IMAGES[:, :1])),
        (Chain, (IMAGES, IMAGES.double())),
        (Chain, (IMAGES, 3)),
        (Chain, (torch.ones(3), torch.ones(3))),
        (_Pair, BATCHES),
        (Chain, IMAGES),
        (Chain, list(BATCHES)),
    ],
)
def test_all_else_is_unchanged(model, data):
    assert tuple_as_batches(model(), data) is data


def test_an_optional_input_is_ambiguous():
    data = BATCHES[:2]
    with pytest.warns(AmbiguousDataWarning, match="give batches as a list"):
        assert tuple_as_batches(_Optional(), data) is data


def test_a_tuple_of_batches_prunes_as_a_list():
    reports = []
    for data in (BATCHES, list(BATCHES)):
        torch.manual_seed(0)
        reports.append(prune(seeded_norms(Chain()), data, flops=0.6, measure_latency=False))
    assert reports[0].removed == reports[1].removed


def test_the_importance_takes_all_batches():
    model = Chain()
    found = [FOADImportance(data).calibrate(model).calibration for data in (BATCHES, list(BATCHES))]
    counts = [[one.count for one in calibration._statistics.values()] for calibration in found]
    assert counts[0] == counts[1]


def test_sensitivity_refit_and_recovery_take_a_tuple_of_batches():
    original = seeded_norms(Chain()).eval()
    assert len(sensitivity(original, BATCHES, probes=[0.5]).groups) > 0
    pruned = copy.deepcopy(original)
    prune(pruned, BATCHES, pruning_ratio=0.5, measure_latency=False)
    assert refit(pruned, original, BATCHES).images == len(IMAGES)
    recover(pruned, original, BATCHES, steps=1)


def test_the_ambiguous_tuple_is_reported_by_prune():
    with pytest.warns(AmbiguousDataWarning):
        prune(seeded_norms(_Optional()), BATCHES[:2], measure_latency=False)
