from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins.benchmarks.criteria.groups import by_filter, first_score, group_score, producers

from ..conftest import GroupOf


def by_index(layer: nn.Module) -> torch.Tensor:
    """Scores that show which channel they stem from."""
    return torch.arange(layer.weight.shape[0]) + 100.0


def test_a_chain_has_one_producer_and_no_consumer_is_one(group_of: GroupOf, chain: nn.Module) -> None:
    found = producers(group_of(chain, "conv1"))
    assert [layer for layer, _ in found] == [chain.conv1]
    assert found[0][1] == [(channel, channel) for channel in range(6)]


def test_a_subset_is_scored_in_its_own_order(group_of: GroupOf, chain: nn.Module) -> None:
    assert group_score(group_of(chain, "conv1", [4, 1, 5]), by_index).tolist() == [104, 101, 105]


def test_all_producers_of_a_residual_stage_count_alike(group_of: GroupOf, residual: nn.Module) -> None:
    scores = {residual.stem: torch.tensor([1.0, 2, 3, 4]), residual.conv: torch.tensor([5.0, 5, 5, 5])}
    group = group_of(residual, "stem")
    assert {layer for layer, _ in producers(group)} == set(scores)
    assert group_score(group, scores.__getitem__).tolist() == [3, 3.5, 4, 4.5]


def test_concatenated_producers_map_to_their_own_channels(group_of: GroupOf) -> None:
    class Concat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 2, 1)
            self.b = nn.Conv2d(1, 3, 1)
            self.c = nn.Conv2d(5, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.cat([self.a(x), self.b(x)], 1))

    model = Concat()
    assert group_score(group_of(model, "b"), by_index).tolist() == [100, 101, 102]


def test_a_group_without_producers_has_no_score(group_of: GroupOf, chain: nn.Module) -> None:
    graph = group_of(chain, "conv1")._DG
    group = graph.get_pruning_group(chain.conv1, tp.prune_conv_in_channels, [0])
    assert group_score(group, by_index) is None


@pytest.mark.parametrize(
    "build",
    [
        partial(nn.Conv2d, 4, 6, 3, groups=2, bias=False),
        partial(nn.ConvTranspose2d, 4, 6, 3, bias=False),
        partial(nn.ConvTranspose2d, 4, 6, 3, groups=2, bias=False),
    ],
    ids=["grouped", "transposed", "transposed-grouped"],
)
def test_a_filter_is_what_makes_one_output_channel(build: Callable[[], nn.Module]) -> None:
    layer = build()
    x = torch.randn(1, 4, 5, 5)
    for channel in range(6):
        made = torch.autograd.grad(layer(x)[:, channel].sum(), layer.weight)[0]
        weights = by_filter(layer, made).abs().sum(1)
        assert weights[channel] > 0
        assert weights.count_nonzero() == 1


def test_the_first_dense_layer_counts(group_of: GroupOf, residual: nn.Module, depthwise: nn.Module) -> None:
    scores = {
        residual.stem: torch.tensor([1.0, 2, 3, 4]),
        residual.conv: torch.tensor([5.0, 5, 5, 5]),
        depthwise.conv: torch.arange(6.0),
        depthwise.depthwise: torch.arange(6.0) + 10,
    }
    assert first_score(group_of(residual, "stem", [2, 0]), scores.__getitem__).tolist() == [3, 1]
    assert first_score(group_of(depthwise, "depthwise"), scores.__getitem__).tolist() == [0, 1, 2, 3, 4, 5]
