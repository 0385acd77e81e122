from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins.benchmarks.criteria import FPGM, CriterionContext
from foad_plugins.benchmarks.criteria.fpgm import filter_distances

from ..conftest import GroupOf


def distances_by_loops(filters: list[torch.Tensor]) -> list[float]:
    """He et al. 2019, literally: for each filter the sum over all filters of the Euclidean distance."""
    sums = []
    for mine in filters:
        total = 0.0
        for other in filters:
            square = 0.0
            for a, b in zip(mine.flatten().tolist(), other.flatten().tolist(), strict=True):
                square += (a - b) ** 2
            total += square**0.5
        sums.append(total)
    return sums


@pytest.mark.parametrize(
    "build",
    [
        partial(nn.Conv2d, 3, 7, 3),
        partial(nn.Conv2d, 4, 8, 3, groups=2),
        partial(nn.Conv2d, 5, 5, 3, groups=5),
        partial(nn.Linear, 6, 4),
        partial(nn.Conv1d, 2, 3, 3),
    ],
    ids=["conv", "grouped", "depthwise", "linear", "conv1d"],
)
def test_equals_the_loops(build: Callable[[], nn.Module]) -> None:
    layer = build()
    expected = distances_by_loops(list(layer.weight))
    assert filter_distances(layer).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_transposed_convolution_has_its_filters_in_the_second_dimension() -> None:
    layer = nn.ConvTranspose2d(3, 5, 2)
    expected = distances_by_loops([layer.weight[:, channel] for channel in range(5)])
    assert filter_distances(layer).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_filter_and_its_negative_are_far_apart() -> None:
    layer = nn.Conv2d(1, 3, 2, bias=False)
    w = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    layer.weight.data = torch.stack([w, -w, w])
    norm = w.norm().item()
    assert filter_distances(layer).tolist() == pytest.approx([2 * norm, 4 * norm, 2 * norm])


def test_torch_prunings_own_version_gives_both_one_score(group_of: GroupOf, chain: nn.Module) -> None:
    """Why ours exists; if this fails, Torch-Pruning's has been repaired and could be used instead."""
    chain.conv1.weight.data[1] = -chain.conv1.weight.data[0]
    group = group_of(chain, "conv1")
    theirs = tp.importance.FPGMImportance(group_reduction="first", normalizer=None, p=1)(group)
    assert theirs[0].item() == pytest.approx(theirs[1].item())
    ours = FPGM(CriterionContext(torch.zeros(1, 1, 8, 8), 0))(group)
    assert abs(ours[0] - ours[1]) > 0.1


def test_near_duplicates_keep_their_small_distance() -> None:
    layer = nn.Conv2d(64, 2, 3, bias=False)
    layer.weight.data[1] = layer.weight.data[0] + 1e-5
    expected = (layer.weight.data[1].double() - layer.weight.data[0].double()).norm().item()
    assert filter_distances(layer).tolist() == pytest.approx([expected] * 2, rel=1e-3)


def test_a_filter_in_the_middle_of_the_others_is_removed_first(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    filters = chain.conv1.weight.data
    filters[4] = filters[[0, 1, 2, 3, 5]].mean(0)
    assert FPGM(context)(group_of(chain, "conv1")).argmin() == 4


def test_a_residual_stage_gets_the_mean_over_its_producers(
    group_of: GroupOf, residual: nn.Module, context: CriterionContext
) -> None:
    expected = (filter_distances(residual.stem) + filter_distances(residual.conv)) / 2
    assert FPGM(context)(group_of(residual, "stem")).tolist() == pytest.approx(expected.tolist())
