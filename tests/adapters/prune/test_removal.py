"""Groups of which Torch-Pruning does not remove the right channels are kept whole, and the others are pruned."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch_pruning.dependency import Group

from foad_plugins import FOADWarning, TargetError, count_params, prune
from foad_plugins.adapters.prune import removal
from tests.adapters.prune.test_api import snapshot
from tests.helpers.seeds import generator
from tests.networks.misgrouped_networks import FAILING, SILENTLY_WRONG, Flipped
from tests.networks.small_networks import Chain

IMAGES = torch.randn(24, 3, 8, 8, generator=generator())


def behind_two(network):
    return nn.Sequential(nn.Conv2d(3, 24, 1), nn.ReLU(), nn.Conv2d(24, 3, 1), network).eval()


def pruned(model, images=IMAGES, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FOADWarning)
        return prune(model, images, measure_latency=False, **options)


@pytest.mark.parametrize("network", [*SILENTLY_WRONG, *FAILING])
def test_a_group_that_cannot_be_removed_rightly_is_kept_and_the_others_are_pruned(network):
    model = behind_two(network())
    widths = {name: len(layer.weight) for name, layer in model[3].named_modules() if hasattr(layer, "weight")}
    report = pruned(model, pruning_ratio=0.3)
    assert model[0].out_channels == 16
    note = next(note for note in report.notes if "are kept: " in note)
    for name in re.findall(r"'3\.(\w+)'", note.split(" are kept")[0]):
        assert len(model[3].get_submodule(name).weight) == widths[name]
    assert model(IMAGES).shape[0] == 24
    assert f"note: {note}" in str(report)


class RolledOften(nn.Module):
    """Of eight layers, those at some places cannot be pruned."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong
        self.layers = nn.ModuleList(nn.Conv2d(3 if not place else 8, 8, 1) for place in range(8))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        for place, layer in enumerate(self.layers):
            x = layer(x).relu()
            x = x.roll(3, 1) if place in self.wrong else x
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("wrong", [{5}, {0, 7}, {1, 2, 6}])
def test_all_groups_at_fault_are_found_in_one_call_by_halving(wrong, monkeypatch):
    trials = []
    trial = removal._trial
    monkeypatch.setattr(removal, "_trial", lambda *arguments: trials.append(1) or trial(*arguments))
    model = RolledOften(wrong).eval()
    report = pruned(model, pruning_ratio=0.5)
    assert {place for place, layer in enumerate(model.layers) if layer.out_channels == 8} == wrong
    (note,) = report.notes
    assert note.startswith("all channels of 'layers.")
    assert [int(place) for place in re.findall(r"'layers\.(\d)'", note)] == sorted(wrong)
    assert len(trials) <= 4 * len(wrong) + 1


def test_the_target_is_reached_with_the_other_groups():
    model = behind_two(Flipped())
    report = pruned(model, params=0.6)
    assert report.params_after == pytest.approx(0.6 * report.params_before, rel=0.05)
    assert model[3].make.out_channels == 8


def test_a_target_that_the_other_groups_do_not_reach():
    model = behind_two(Flipped())
    before = snapshot(model)
    with pytest.raises(TargetError, match=r"are left .*; all channels of '3.make' are kept: the outputs"):
        pruned(model, params=0.2)
    assert snapshot(model) == before


def test_a_latency_is_reached_with_the_other_groups(monkeypatch):
    time_of = "foad_plugins.adapters.prune.planner.measure_latency"
    monkeypatch.setattr(time_of, lambda model, *arguments, **options: float(count_params(model)))
    model = behind_two(FAILING[0]())
    report = pruned(model, latency=0.8)
    assert report.params_after <= 0.8 * report.params_before
    assert any("'3.make' are kept" in note for note in report.notes)


def test_in_steps_a_group_is_tried_once(monkeypatch):
    calls = []
    search = removal.failing_groups
    monkeypatch.setattr(
        "foad_plugins.adapters.prune.step.failing_groups", lambda *arguments: calls.append(1) or search(*arguments)
    )
    model = behind_two(Flipped())
    report = pruned(model, pruning_ratio=0.5, steps=2)
    assert model[0].out_channels == 12
    assert len(calls) == 1
    assert len([note for note in report.notes if "are kept" in note]) == 1


def test_a_ratio_for_a_layer_that_is_kept_is_no_error():
    model = behind_two(Flipped())
    pruned(model, pruning_ratio_dict={"0": 0.5, "3.make": 0.5})
    assert (model[0].out_channels, model[3].make.out_channels) == (12, 8)


def test_right_removals_are_not_searched(monkeypatch):
    monkeypatch.setattr("foad_plugins.adapters.prune.step.failing_groups", None)
    assert pruned(Chain().eval(), pruning_ratio=0.5).removed


class PaddedShortcut(nn.Module):
    """Option A of the ResNets for CIFAR: shortcuts are padded with channels of zeros."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.inner, self.outer = nn.Conv2d(16, 48, 3, padding=1), nn.Conv2d(48, 32, 3, padding=1)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.outer(self.inner(x).relu()) + functional.pad(x, (0, 0, 0, 0, 8, 8))
        return self.head(y.relu().mean((2, 3)))


def test_padded_shortcuts():
    model = PaddedShortcut().eval()
    report = pruned(model, params=0.6)
    assert report.params_after == pytest.approx(0.6 * report.params_before, rel=0.04)
    assert model.inner.out_channels < 48
    # The zeros are kept: their number is in the code.
    assert model.outer.out_channels == model.stem.out_channels + 16
    assert set(report.kept_layers) == {"head"}


@pytest.mark.parametrize(
    "error",
    [MemoryError("none left"), torch.OutOfMemoryError("none left"), RuntimeError("DefaultCPUAllocator: none left")],
)
@pytest.mark.parametrize(("owner", "name", "call"), [(Group, "prune", 1), (Group, "prune", 2), (removal, "outputs", 1)])
def test_too_little_memory_is_no_wrong_removal(error, owner, name, call, monkeypatch):
    original, calls = getattr(owner, name), []

    def fail(*arguments, **options):
        calls.append(1)
        if len(calls) == call:
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, fail)
    model = Chain().eval()
    before = snapshot(model)
    with pytest.raises(type(error), match="none left"):
        pruned(model, pruning_ratio=0.5)
    assert snapshot(model) == before
