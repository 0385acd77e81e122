"""A coupled group is collected item by item as Torch-Pruning collects it."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins.adapters.torch_pruning.collect import collect_group
from foad_plugins.adapters.torch_pruning.graph import build_graph
from foad_plugins.calibration.data import Call
from tests.helpers.seeds import generator
from tests.networks.misgrouped_networks import ChunkedAndConcatenated
from tests.networks.small_networks import Chain, Concat, Residual

IMAGES = torch.rand(2, 3, 8, 8, generator=generator())


class Halves(nn.Module):
    """Split, concatenation, depthwise convolution and a flattened classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left, self.right = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.fc = nn.Linear(10 * 16, 3)

    def forward(self, x):
        left, right = self.stem(x).chunk(2, 1)
        both = torch.cat([self.left(left), self.right(right)], 1).relu()
        return self.fc(nn.functional.max_pool2d(both, 2).flatten(1))


@pytest.mark.parametrize("build", [Chain, Residual, Concat, Halves, ChunkedAndConcatenated])
def test_the_groups_are_those_of_torch_pruning(build):
    graph = build_graph(build().eval(), Call((IMAGES,), IMAGES))
    roots = [layer for layer in graph.module2node if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(roots) > 2
    for root in roots:
        pruner = graph.get_pruner_of_module(root)
        for channels in ([0], list(range(pruner.get_out_channels(root)))):
            for handler in (pruner.prune_out_channels, pruner.prune_in_channels):
                expected = graph.get_pruning_group(root, handler, channels)
                found = collect_group(graph, root, handler, channels)
                assert [item.dep for item in found] == [item.dep for item in expected]
                assert [item.idxs for item in found] == [item.idxs for item in expected]
                assert [item.root_idxs for item in found] == [item.root_idxs for item in expected]


def test_a_group_can_be_removed():
    model = Chain().eval()
    graph = build_graph(model, Call((IMAGES,), IMAGES))
    width = model.conv1.out_channels
    collect_group(graph, model.conv1, tp.prune_conv_out_channels, [1, 4]).prune()
    assert (model.conv1.out_channels, model.conv2.in_channels) == (width - 2, width - 2)
    model(IMAGES)
