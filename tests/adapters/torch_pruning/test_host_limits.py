"""What Torch-Pruning's own pruners do with any importance, and what this package adds."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance, OutputWidthWarning, UnscoredGroupWarning, prune
from foad_plugins.adapters.torch_pruning import importance as importance_module
from tests.adapters.torch_pruning.test_importance import IMAGES, _Sometimes, pruner
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, seeded_norms

MANY = torch.rand(48, 3, 8, 8, generator=generator())
REGULARIZING = [tp.pruner.GroupNormPruner, tp.pruner.GrowingRegPruner]


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, padding=1)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.grouped(self.conv(x).relu()).relu().mean((2, 3)))


@pytest.mark.parametrize("importance", [tp.importance.MagnitudeImportance(1), FOADImportance(MANY)])
def test_round_to_with_channel_groups_removes_nothing_in_torch_pruning(importance):
    """It rounds a number of channels within one group as if it were of all of them."""
    model = Grouped().eval()
    pruner(model, importance, MANY, round_to=8).step()
    assert (model.conv.out_channels, model.grouped.out_channels) == (32, 32)


def test_round_to_with_channel_groups_in_prune():
    model = Grouped().eval()
    prune(model, MANY, pruning_ratio=0.5, round_to=8, measure_latency=False)
    assert (model.conv.out_channels, model.grouped.out_channels, model.grouped.groups) == (16, 16, 4)
    assert model(MANY).shape == (48, 5)


def test_an_output_that_has_lost_channels_is_a_warning_at_the_next_step():
    model, importance = seeded_norms(Chain()), FOADImportance(IMAGES)
    host = pruner(model, importance, ignored_layers=[], iterative_steps=2)
    host.step()
    assert model.fc.out_features < 5
    with pytest.warns(OutputWidthWarning, match=r"lost channels, at 'fc' \(5 to [34]\): name .* in ignored_layers"):
        host.step()


def test_an_output_that_keeps_its_channels_is_no_warning():
    model, importance = seeded_norms(Chain()), FOADImportance(IMAGES)
    host = pruner(model, importance, iterative_steps=2)
    host.step()
    host.step()
    importance.calibrate(model)


def held_while_training(host, importance):
    """As in the guide."""
    scores = {group: importance(group) for group in host._groups}
    host._groups = [group for group in host._groups if scores[group] is not None]
    host.importance = scores.__getitem__


@pytest.mark.parametrize("kind", REGULARIZING)
def test_a_held_calibration_serves_a_whole_training(kind, monkeypatch):
    runs = []
    original = importance_module.Calibration
    monkeypatch.setattr(importance_module, "Calibration", lambda *one, **more: runs.append(1) or original(*one, **more))
    model, importance = seeded_norms(Chain()), FOADImportance(IMAGES)
    host = pruner(model, importance, kind=kind)
    held_while_training(host, importance)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(IMAGES).sum().backward()
        host.regularize(model)
        optimizer.step()
    assert len(runs) == 1
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    host.importance = importance
    host.step()
    assert len(runs) == 2
    assert (model.conv1.out_channels, model.conv2.out_channels) == (4, 6)


@pytest.mark.parametrize("kind", REGULARIZING)
def test_a_group_without_a_score_in_a_regularizing_pruner(kind):
    model, importance = _Sometimes(), FOADImportance(IMAGES)
    host = pruner(model, importance, kind=kind)
    model.both = False
    with pytest.warns(UnscoredGroupWarning):
        held_while_training(host, importance)
    model(IMAGES).sum().backward()
    host.regularize(model)
