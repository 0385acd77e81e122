from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from foad_plugins.adapters.prune.cost_model import CostModel
from foad_plugins.adapters.torch_pruning.graph import build_graph, prunable_groups
from foad_plugins.calibration.data import Call
from foad_plugins.cost.flops import flops_table
from tests.helpers.seeds import SEED, generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens

IMAGE = torch.rand(1, 3, 8, 8, generator=generator())


class Twice(nn.Module):
    """A layer that runs twice, and one that consumes its channels a second time after an activation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.both = nn.Conv2d(12, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.again(x)
        x = x + self.again(x)
        return self.fc(self.both(torch.cat([x, functional.relu(x)], 1)).mean((2, 3)))


def chained(*layers, features=8):
    """Layers, then a head on the mean over all positions."""
    return nn.Sequential(*layers, nn.Flatten(2), _Mean(), nn.Linear(features, 5))


class _Mean(nn.Module):
    def forward(self, x):
        return x.mean(2)


NETWORKS = {
    "chain": (Chain, IMAGE),
    "groups": (lambda: Chain(groups=4), IMAGE),
    "group norm": (lambda: Chain(norm="group"), IMAGE),
    "residual": (Residual, IMAGE),
    "concat": (Concat, IMAGE),
    "tokens": (Tokens, torch.rand(1, 7, 6, generator=generator())),
    "twice": (Twice, IMAGE),
    "groups twice": (
        lambda: chained(nn.Conv2d(3, 12, 3), nn.Conv2d(12, 24, 3, groups=2), nn.Conv2d(24, 8, 3, groups=4)),
        IMAGE,
    ),
    "transposed": (lambda: chained(nn.Conv2d(3, 6, 3), nn.ConvTranspose2d(6, 8, 3, stride=2)), IMAGE),
    "depthwise": (lambda: chained(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1)), IMAGE),
    "prelu": (
        lambda: chained(nn.Conv2d(3, 6, 3), nn.PReLU(6), nn.Conv2d(6, 8, 3, bias=False), nn.PReLU()),
        IMAGE,
    ),
    "no affine": (lambda: chained(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)), IMAGE),
    "one dimension": (
        lambda: chained(nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.Conv1d(6, 8, 3)),
        torch.rand(1, 3, 9, generator=generator()),
    ),
    "three dimensions": (
        lambda: chained(nn.Conv3d(2, 6, 3), nn.BatchNorm3d(6), nn.Conv3d(6, 8, 3)),
        torch.rand(1, 2, 6, 6, 6, generator=generator()),
    ),
}


def groups_of(model, image):
    graph = build_graph(model, Call((image,), image))
    return graph, [group for group in prunable_groups(graph, []) if not group.is_output]


def sizes(table):
    """Parameters, and FLOPs of the layers whose cost is promised: pooling and resampling have no channels to lose."""
    counted = [layer for layer in table.layers if "Pool" not in layer.kind and "Upsample" not in layer.kind]
    return table.params, sum(layer.flops for layer in counted)


def check(build, image, share):
    """Compare the predicted cost with the cost after the removal."""
    torch.manual_seed(SEED)
    model = build().eval()
    _, groups = groups_of(model, image)
    widths = [group.channels_per_group for group in groups]
    counts = [min(math.ceil(share(number) * width), width - 1) for number, width in enumerate(widths)]
    assert any(counts)
    before = flops_table(model, image)
    costs = CostModel(groups, before)
    assert (costs.at([0] * len(groups)).params, costs.at([0] * len(groups)).flops) == (before.params, before.flops)
    for group, count in zip(groups, counts, strict=True):
        if count:
            group.partial(group.root_indices(range(count))).prune()
    model(image)
    after, predicted = flops_table(model, image), costs.at(counts)
    (params, flops), (params_before, flops_before) = sizes(after), sizes(before)
    assert predicted.params == pytest.approx(params, rel=1e-9)
    assert before.flops - predicted.flops == pytest.approx(flops_before - flops, rel=1e-9)
    assert params < params_before
    assert CostModel(groups, before, counted=False).at(counts).flops is None


SHARES = {
    "half": lambda _: 0.5,
    "nearly all": lambda _: 1.0,
    "every other": lambda number: 0.5 * (number % 2 == 0),
    "some": lambda number: 0.15 + 0.2 * (number % 4),
}


@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)
@pytest.mark.parametrize(("build", "image"), NETWORKS.values(), ids=NETWORKS)
def test_costs_are_those_of_the_pruned_network(build, image, share):
    check(build, image, share)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121"])
def test_costs_of_real_networks(name):
    models = pytest.importorskip("torchvision.models")
    check(lambda: models.get_model(name, num_classes=10), torch.rand(1, 3, 64, 64), SHARES["some"])


def test_costs_fall_with_every_channel():
    model = Concat()
    _, groups = groups_of(model, IMAGE)
    costs = CostModel(groups, flops_table(model, IMAGE))
    counts = [0] * len(groups)
    last = costs.at(counts)
    for number, group in enumerate(groups):
        for _ in range(group.num_channels - 1):
            counts[number] += 1
            here = costs.at(counts)
            assert here.params < last.params
            assert here.flops < last.flops
            last = here


def test_a_network_without_groups_costs_what_it_costs():
    table = flops_table(nn.Conv2d(3, 8, 3), IMAGE)
    found = CostModel([], table).at([])
    assert (found.params, found.flops) == (table.params, table.flops)
