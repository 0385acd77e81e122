from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from foad_plugins import TargetError, prune
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.runs.two_targets import dense_layers, params_heavy_ratio
from tests.helpers.seeds import generator

IMAGES = torch.randn(32, 1, 8, 8, generator=generator())


@pytest.fixture
def model() -> nn.Module:
    return build_model(Spec(name="digits-vgg", settings={"widths": (8, 12, 24)}), seed=0).eval()


def test_layers_with_small_maps_hold_many_parameters_for_their_flops(model: nn.Module) -> None:
    report = prune(model, IMAGES, flops=0.5, ranking="local", dry_run=True, measure_latency=False)
    # Maps of 8x8, 4x4 and 2x2: the middle of the logarithms is 4x4.
    assert dense_layers(report, model) in (["features.14", "features.17"], [f"features.{n}" for n in (7, 10, 14, 17)])


def test_the_ratio_found_meets_both(model: nn.Module) -> None:
    before = copy.deepcopy(model.state_dict())
    ratios = params_heavy_ratio(model, IMAGES, [], flops=0.5, params=0.25, tolerance=0.03)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(set(ratios.values())) == 1
    report = prune(
        model, IMAGES, flops=0.5, ranking="local", pruning_ratio_dict=ratios, compensate=None, measure_latency=False
    )
    assert report.flops_before is not None
    assert report.flops_after is not None
    assert report.flops_after / report.flops_before == pytest.approx(0.5, abs=0.03)
    assert report.params_after / report.params_before == pytest.approx(0.25, abs=0.03)


def test_ignored_layers_are_left_alone(model: nn.Module) -> None:
    ratios = params_heavy_ratio(model, IMAGES, ["features.17"], flops=0.6, params=0.6, tolerance=0.05)
    assert "features.17" not in ratios


def test_what_no_ratio_meets(model: nn.Module) -> None:
    with pytest.raises(TargetError, match=r"no widths end at 95.0% of the FLOPs and 1.0% of the parameters; the nea"):
        params_heavy_ratio(model, IMAGES, [], flops=0.95, params=0.01, tolerance=0.01)
    with pytest.raises(TargetError, match="flops=0.001 cannot be met"):
        params_heavy_ratio(model, IMAGES, [], flops=0.001, params=0.5, tolerance=0.01)
