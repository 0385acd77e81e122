from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foad_plugins.benchmarks.criteria import CriterionContext, HRank
from foad_plugins.benchmarks.criteria.hrank import rank_sums

from ..conftest import GroupOf


def mean_ranks_by_numpy(maps: torch.Tensor) -> list[float]:
    """Lin et al. 2020, literally: for each channel the mean over images of the rank of its map."""
    images, channels = maps.shape[:2]
    return [
        sum(int(np.linalg.matrix_rank(maps[n, c].numpy())) for n in range(images)) / images for c in range(channels)
    ]


def low_rank_maps() -> torch.Tensor:
    """Maps (3, 5, 6, 4): channel c has rank c, and one less in the last image."""
    random = torch.Generator().manual_seed(0)
    maps = torch.zeros(3, 5, 6, 4)
    for n in range(3):
        for c in range(5):
            rank = max(min(c, 4) - (n == 2), 0)
            for _ in range(rank):
                maps[n, c] += torch.outer(torch.randn(6, generator=random), torch.randn(4, generator=random))
    return maps


def test_ranks_of_maps_made_to_measure() -> None:
    assert rank_sums(low_rank_maps()).tolist() == [0, 2, 5, 8, 11]


def test_equals_numpy_on_random_maps() -> None:
    maps = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).relu()
    assert (rank_sums(maps) / 4).tolist() == mean_ranks_by_numpy(maps)


def test_elements_of_a_vector_are_maps_of_one_pixel() -> None:
    vectors = torch.tensor([[0.0, 1.0, -2.0], [0.0, 0.0, 3.0]])
    assert rank_sums(vectors).tolist() == [0, 1, 2]
    assert rank_sums(vectors).tolist() == rank_sums(vectors[:, :, None, None]).tolist()


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 2, 3, 4, 5)])
def test_other_shapes_have_no_rank(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        rank_sums(torch.zeros(shape))


def test_scores_are_ranks_after_bn_and_relu_and_before_pooling(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    score = HRank(context)
    with torch.no_grad():
        first = F.relu(chain.bn1(chain.conv1(context.images)))
        second = F.relu(chain.bn2(chain.conv2(chain.pool(first))))
    expected_first, expected_second = mean_ranks_by_numpy(first), mean_ranks_by_numpy(second)
    assert len(set(expected_first)) > 1
    assert score(group_of(chain, "conv1")).tolist() == pytest.approx(expected_first)
    assert score(group_of(chain, "conv2")).tolist() == pytest.approx(expected_second)


def test_a_residual_stage_gets_the_mean_of_stem_and_branch(
    group_of: GroupOf, residual: nn.Module, context: CriterionContext
) -> None:
    with torch.no_grad():
        stem = torch.relu(residual.stem(context.images))
        branch = residual.bn(residual.conv(stem))
    expected = [(a + b) / 2 for a, b in zip(mean_ranks_by_numpy(stem), mean_ranks_by_numpy(branch), strict=True)]
    assert HRank(context)(group_of(residual, "stem")).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("change", ["weight", "buffer", "shape"])
def test_a_changed_network_is_read_again(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext, change: str
) -> None:
    chain.bn2.weight.data.abs_()
    score = HRank(context)
    before = score(group_of(chain, "conv2"))
    if change == "shape":
        group_of(chain, "conv2", [0]).prune()
    with torch.no_grad():
        if change == "buffer":
            chain.bn2.running_mean.fill_(100)
        else:
            chain.bn2.bias.fill_(-100)
    after = score(group_of(chain, "conv2"))
    assert before.max() > 0
    assert after.tolist() == [0.0] * (4 if change == "shape" else 5)
