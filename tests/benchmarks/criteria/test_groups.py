from __future__ import annotations

import torch
import torch_pruning as tp
from torch import nn

from foad_plugins.benchmarks.criteria.groups import group_score, producers

from ..conftest import GroupOf


def by_index(layer: nn.Module) -> torch.Tensor:
    """Scores that show which channel they stem from."""
    return torch.arange(layer.weight.shape[0]) + 100.0


def test_a_chain_has_one_producer_and_no_reader_among_them(group_of: GroupOf, chain: nn.Module) -> None:
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
