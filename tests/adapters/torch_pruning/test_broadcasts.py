"""One-channel maps that are multiplied with features couple no channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins import prune
from tests.helpers.seeds import SEED, generator

IMAGES = torch.rand(64, 3, 16, 16, generator=generator())


class Gated(nn.Module):
    """Spatial attention."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
        self.gate, self.c3, self.head = nn.Conv2d(16, 1, 1), nn.Conv2d(16, 16, 3), nn.Linear(16, 4)

    def combine(self, x):
        return x * self.gate(x).sigmoid()

    def forward(self, x):
        x = self.combine(self.c2(self.c1(x).relu()).relu())
        return self.head(self.c3(x).relu().mean((2, 3)))


class Both(Gated):
    """Gates by channel and by position, added (scSE)."""

    def __init__(self):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)

    def combine(self, x):
        by_channel = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * by_channel + x * self.gate(x).sigmoid()


class FromElsewhere(Gated):
    """A saliency map of the layer before, added and multiplied."""

    def combine(self, x):
        saliency = nn.functional.softplus(self.gate(x.detach() * 0 + x))
        return (saliency + x) / (1 + saliency)


@pytest.mark.parametrize("network", [Gated, Both, FromElsewhere])
@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_features_behind_a_gate_are_pruned_and_the_gate_keeps_its_output(network, seed):
    torch.manual_seed(seed)
    model = network().eval()
    report = prune(model, IMAGES, pruning_ratio=0.5, measure_latency=False)
    assert (model.c1.out_channels, model.c2.out_channels, model.c3.out_channels) == (8, 8, 8)
    assert (model.gate.in_channels, model.gate.out_channels) == (8, 1)
    assert {group.verification for group in report.groups if group.selection.removed} == {"verified"}
    assert not report.notes
