from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from foad_plugins import count_flops, prune
from foad_plugins.benchmarks import pruning
from foad_plugins.benchmarks.criteria import CRITERIA, CriterionContext, CriterionSpec, build_criterion
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.pruning import FlopsTargetError, layer_widths, prune_to_flops
from foad_plugins.benchmarks.registry import Spec
from foad_plugins.benchmarks.scoring import ScoreBook

EXAMPLE = torch.zeros(1, 1, 8, 8)
IMAGES = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(32) % 10


@pytest.fixture
def model() -> nn.Module:
    return build_model(Spec(name="digits-vgg", settings={"widths": (16, 24, 32)}), seed=0).eval()


def book(name: str = "l1", **settings: object) -> ScoreBook:
    return ScoreBook(
        build_criterion(CriterionSpec(name=name, settings=settings), CriterionContext(IMAGES, 0, LABELS)), name
    )


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("kept", [0.25, 0.5])
def test_every_criterion_ends_at_the_same_widths_within_one_percent(model: nn.Module, kept: float) -> None:
    base = count_flops(model, EXAMPLE)
    widths = set()
    for name in CRITERIA.names():
        scores = book(name)
        pruned = prune_to_flops(model, IMAGES, scores, flops=kept, tolerance=0.01)
        assert abs(count_flops(pruned.model, EXAMPLE) - kept * base) <= 0.01 * base
        assert pruned.model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
        assert not any(module.training for module in pruned.model.modules())
        assert scores.seconds > 0
        widths.add(tuple(layer_widths(pruned.model).items()))
    assert len(widths) == 1
    assert 0 < pruned.pruning_ratio < 1


def test_the_lowest_scores_go_and_nothing_else_changes(model: nn.Module) -> None:
    before = state_of(model)
    norms = model.features[0].weight.detach().abs().sum((1, 2, 3))
    pruned = prune_to_flops(model, IMAGES, book(), flops=0.5, tolerance=0.02).model
    kept = norms.topk(pruned.features[0].out_channels).indices.sort().values
    assert torch.equal(pruned.features[0].weight, model.features[0].weight[kept])
    assert torch.equal(pruned.features[1].running_mean, model.features[1].running_mean[kept])
    assert equal(state_of(model), before)


@pytest.mark.parametrize("order", ["reconstruction", "rounds", "backward"])
@pytest.mark.parametrize("compensate", [None, "least_squares"])
@pytest.mark.parametrize("reestimate_bn", [False, True])
def test_foad_is_pruned_as_the_package_does_it(
    model: nn.Module, order: str, compensate: str | None, reestimate_bn: bool
) -> None:
    options = {"compensate": compensate, "reestimate_bn": reestimate_bn}
    expected = copy.deepcopy(model)
    prune(expected, IMAGES, flops=0.5, order=order, **options)
    ours = prune_to_flops(model, IMAGES, book("foad", order=order), flops=0.5, tolerance=0.01, **options)
    assert equal(state_of(ours.model), state_of(expected))


def test_compensation_and_statistics_change_weights_and_buffers(model: nn.Module) -> None:
    scores = book()
    states = [
        state_of(prune_to_flops(model, IMAGES, scores, flops=0.5, tolerance=0.01, **options).model)
        for options in ({}, {"compensate": "least_squares"}, {"reestimate_bn": True})
    ]
    plain, compensated, moved = states
    assert not torch.equal(plain["features.3.weight"], compensated["features.3.weight"])
    assert torch.equal(plain["features.4.running_mean"], compensated["features.4.running_mean"])
    assert torch.equal(plain["features.3.weight"], moved["features.3.weight"])
    assert not torch.equal(plain["features.4.running_mean"], moved["features.4.running_mean"])


def test_widths_name_every_layer(model: nn.Module) -> None:
    assert list(layer_widths(model).values()) == [16, 16, 24, 24, 32, 32, 10]
    assert list(layer_widths(model))[-1] == "classifier"


def test_a_target_between_two_widths_cannot_be_met_exactly(model: nn.Module) -> None:
    with pytest.raises(FlopsTargetError, match=r"no nearer to 50.0% of \d+ FLOPs than 49.\d%"):
        prune_to_flops(model, IMAGES, book(), flops=0.5, tolerance=0)


def test_a_target_below_one_channel_a_layer_cannot_be_met() -> None:
    model = build_model(Spec(name="digits-vgg", settings={"widths": (2, 2, 2)}), seed=0).eval()
    with pytest.raises(FlopsTargetError, match=r"flops=0.05 cannot be met: .* are left"):
        prune_to_flops(model, IMAGES, book(), flops=0.05, tolerance=0.01)


def test_flops_that_cannot_be_counted(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "prune", lambda *args, **kwargs: _NotCounted)
    with pytest.raises(FlopsTargetError, match="cannot count"):
        prune_to_flops(model, IMAGES, book(), flops=0.5, tolerance=0.01)


class _NotCounted:
    flops_before = flops_after = None


@pytest.mark.parametrize("wrong", [{"flops": 0}, {"flops": 1.5}, {"tolerance": -1}, {"tolerance": float("nan")}])
def test_arguments_out_of_range(model: nn.Module, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        prune_to_flops(model, IMAGES, book(), **{"flops": 0.5, "tolerance": 0.1, **wrong})
