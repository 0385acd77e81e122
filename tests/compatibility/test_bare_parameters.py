"""Parameters outside of layers, frozen parts and flattened branches: pruned rightly, or kept whole with a note."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from foad_plugins import FOADWarning, prune
from tests.helpers.seeds import SEED, generator

IMAGES = torch.rand(64, 3, 8, 8, generator=generator())


class Scaled(nn.Module):
    """Layer scale and a map of positions, all along the channels."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 1), nn.Conv2d(32, 16, 1)
        self.scale, self.positions = nn.Parameter(torch.rand(16, 1, 1)), nn.Parameter(torch.rand(1, 16, 8, 8))
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.c1(x) + self.positions
        return self.head((x + self.scale * self.c3(self.c2(x).relu())).mean((2, 3)))


class BareWeight(nn.Module):
    """A convolution without a layer."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(3, 24, 3), nn.Conv2d(16, 24, 1), nn.Conv2d(24, 24, 1)
        self.weight, self.head = nn.Parameter(torch.randn(16, 24, 3, 3) / 10), nn.Linear(24, 4)

    def forward(self, x):
        x = functional.conv2d(self.c1(x).relu(), self.weight).relu()
        return self.head(self.c3(self.c2(x).relu()).relu().mean((2, 3)))


class Frozen(nn.Module):
    """The first layer runs without gradients, and its output is added to that of the last."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 1), nn.Conv2d(32, 16, 1)
        self.head = nn.Linear(16, 4)
        self.c1.requires_grad_(False)

    def forward(self, x):
        with torch.no_grad():
            x = self.c1(x).relu()
        return self.head((self.c3(self.c2(x).relu()) + x).mean((2, 3)))


class Flattened(nn.Module):
    """Branches of two sizes."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 10, 3, 2, 1)
        self.inner, self.head = nn.Linear(6 * 64 + 10 * 16, 30), nn.Linear(30, 4)

    def forward(self, x):
        maps = [self.left(x).relu().flatten(1), self.right(x).relu().flatten(1)]
        return self.head(self.inner(torch.cat(maps, 1)).relu())


def pruned(network):
    torch.manual_seed(SEED)
    model = network().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FOADWarning)
        report = prune(model, IMAGES, pruning_ratio=0.5, measure_latency=False)
    assert {group.verification for group in report.groups if group.selection.removed} == {"verified"}
    assert model(IMAGES).shape == (64, 4)
    return model, report


def test_layer_scale_and_positions_are_pruned_with_their_channels():
    model, report = pruned(Scaled)
    assert (model.c1.out_channels, model.c2.out_channels, model.c3.out_channels) == (8, 16, 8)
    assert (tuple(model.scale.shape), tuple(model.positions.shape)) == ((8, 1, 1), (1, 8, 8, 8))
    assert not report.notes
    assert {"scale", "positions"} <= {name for group in report.groups for name in group.layers}


@pytest.mark.parametrize(
    ("network", "kept", "layer"),
    [(BareWeight, "'c1', 'weight'", "c2"), (Frozen, "'c3'", "c2"), (Flattened, "'right', 'left'", "inner")],
)
def test_what_cannot_be_removed_is_kept_with_a_note(network, kept, layer):
    model, report = pruned(network)
    assert any(note.startswith(f"all channels of {kept} are kept: ") for note in report.notes)
    original = getattr(network(), layer).weight
    assert len(getattr(model, layer).weight) == len(original) // 2
