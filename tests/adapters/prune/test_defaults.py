"""Widths by sensitivity and refit unless the caller or the network wants something else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foad_plugins import InsufficientDataWarning, prune
from foad_plugins.recovery import refit_step
from foad_plugins.recovery.refit import refit
from foad_plugins.recovery.refitting.memory import NotEnoughMemoryError
from tests.helpers.seeds import generator
from tests.networks.small_networks import Residual, seeded_norms

IMAGES = torch.randn(32, 3, 8, 8, generator=generator())
QUICK = {"measure_latency": False, "params": 0.6}


def pruned(original, images=IMAGES, **settings):
    model = copy.deepcopy(original)
    report = prune(model, images, **QUICK | settings)
    return model, report


def equal(first, second):
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def original():
    return seeded_norms(Residual())


def test_a_cost_is_met_by_sensitivity_and_refit(original):
    default, report = pruned(original)
    explicit, _ = pruned(original, ranking="sensitivity", compensate="refit")
    assert equal(default, explicit)
    assert report.refit is not None
    assert all(group.curve is not None for group in report.groups)


def test_a_pruning_ratio_is_the_same_share_everywhere(original):
    default, report = pruned(original, params=None, pruning_ratio=0.5)
    local, _ = pruned(original, params=None, pruning_ratio=0.5, ranking="local")
    assert equal(default, local)
    assert report.refit is not None


@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
def test_one_image_is_enough_with_a_note(original):
    _, report = pruned(original, IMAGES[:1])
    assert any("same share" in note and "single image" in note for note in report.notes)
    with pytest.raises(ValueError, match="single image"):
        pruned(original, IMAGES[:1], ranking="sensitivity")


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4)
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        maps = F.relu(self.second(F.relu(self.first(images))))
        return self.head(maps.mean((2, 3))) * (1 + 0.1 * (self.calls % 7))


def test_outputs_that_change_from_call_to_call():
    model, report = pruned(Noisy(), verify=False)
    assert report.removed
    assert model.second.out_channels < 8
    for text in ("the sensitivity of the output cannot be measured", "the layers cannot be refitted"):
        assert any(text in note for note in report.notes), report.notes
    for asked in ({"ranking": "sensitivity"}, {"compensate": "refit", "ranking": "local"}):
        with pytest.raises(ValueError, match="output"):
            pruned(Noisy(), verify=False, **asked)


def test_a_refit_that_fails_is_replaced(original, monkeypatch):
    def fails(*arguments, **settings):
        raise RuntimeError("no way\nand a traceback")

    monkeypatch.setattr(refit_step, "refit", fails)
    default, report = pruned(original)
    plain, _ = pruned(original, ranking="sensitivity", compensate="least_squares")
    assert equal(default, plain)
    assert report.notes[0] == "compensated by least squares, since the layers cannot be refitted: no way"
    before = copy.deepcopy(original)
    with pytest.raises(RuntimeError, match="no way"):
        prune(original, IMAGES, compensate="refit", **QUICK)
    assert equal(original, before)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError, InsufficientDataWarning])
def test_what_is_no_failure_of_the_refit_ends_the_call(original, monkeypatch, stop):
    def ends(*arguments, **settings):
        raise stop

    monkeypatch.setattr(refit_step, "refit", ends)
    before = copy.deepcopy(original)
    with pytest.raises(stop):
        prune(original, IMAGES, **QUICK)
    assert equal(original, before)


@pytest.mark.parametrize("images", [IMAGES, list(IMAGES.split(12))])
def test_as_many_images_are_refitted_on_as_memory_holds(original, monkeypatch, images):
    def short(pruned, original, data, **settings):
        images = sum(
            len(getattr(call, "args", [call])[0]) for call in ([data] if isinstance(data, torch.Tensor) else data)
        )
        if images > 20:
            raise NotEnoughMemoryError("too many", 20)
        return refit(pruned, original, data, **settings)

    monkeypatch.setattr(refit_step, "refit", short)
    _, report = pruned(original, images)
    assert report.refit is not None
    assert report.refit.images == 20
    assert any("refitted on 20 images" in note for note in report.notes)
