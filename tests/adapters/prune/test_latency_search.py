from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from foad_plugins import count_params, prune
from foad_plugins.adapters.prune.search import TargetError
from foad_plugins.calibration.data import Call
from foad_plugins.cost.latency import measure_latency
from tests.adapters.prune.test_api import snapshot
from tests.helpers.pruned import IMAGES, run, shares, widths
from tests.networks.small_networks import Wide, seeded_norms


def fake_latency(cost, calls):
    """A latency computed from the network, instead of a measured one."""

    def measure(model, call, *, forward_fn=None):
        calls.append(call)
        return cost(model)

    return measure


def by_params(model):
    return 1e-6 * count_params(model)


def faster_in_eights(model):
    """Widths that are no multiples of eight take twice the time."""
    uneven = any(width % 8 for width in widths(model).values())
    return by_params(model) * (2 if uneven else 1)


@pytest.mark.parametrize("clock", [by_params, faster_in_eights])
def test_the_largest_network_that_is_fast_enough_is_taken(clock, monkeypatch):
    calls = []
    for module in ("planner", "api"):
        monkeypatch.setattr(f"foad_plugins.adapters.prune.{module}.measure_latency", fake_latency(clock, calls))
    model = seeded_norms(Wide())
    original = copy.deepcopy(model)
    report = run(model, list(IMAGES.split(20)), latency=0.5, measure_latency=True)
    assert report.latency_after / report.latency_before <= 0.5
    assert all(len(call.args[0]) == 20 for call in calls)
    # Five halvings of some hundred steps come within a few channels.
    assert report.latency_after / report.latency_before > 0.4
    assert len(report.latency_trials) >= 5
    fast = [trial.flops for trial in report.latency_trials if trial.latency <= 0.5]
    assert shares(model, original)[0] == pytest.approx(max(fast))
    assert all(width % 8 == 0 for width in widths(model).values()) == (clock is faster_in_eights)
    slower = [note for note in report.notes if note.startswith("fewer FLOPs were slower")]
    assert bool(slower) == (clock is faster_in_eights)


def test_the_error_of_an_unreachable_latency_contains_the_least_measured(monkeypatch):
    monkeypatch.setattr("foad_plugins.adapters.prune.planner.measure_latency", fake_latency(by_params, []))
    model = seeded_norms(Wide())
    before, size = snapshot(model), count_params(model)
    with pytest.raises(
        TargetError, match=r"latency=0\.001 cannot be met: the fastest network measured takes"
    ) as caught:
        run(model, latency=0.001)
    assert snapshot(model) == before
    least = float(str(caught.value).split("takes ")[1].split("%")[0]) / 100
    run(model, latency=least + 0.001)
    assert count_params(model) / size == pytest.approx(least, abs=0.001)


@pytest.mark.usual_latency
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
def test_a_latency_is_met_by_the_clock():
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()
    original, data = copy.deepcopy(model), torch.rand(8, 3, 48, 48)
    report = prune(model, data, latency=0.7)
    call = Call((data,), data)
    # The least of several is what the machine can do when nobody else is at it.
    before, after = (min(measure_latency(net, call) for _ in range(5)) for net in (original, model))
    assert after / before <= 0.8
    assert report.latency_after / report.latency_before <= 0.85
    assert any(trial.latency <= 0.7 for trial in report.latency_trials)
    assert {trial.round_to for trial in report.latency_trials} >= {1, 8}
    with pytest.raises(TargetError, match="fastest network measured"):
        prune(original, data, latency=1e-4)
