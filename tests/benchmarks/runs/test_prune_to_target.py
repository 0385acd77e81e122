from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from foad_plugins import count_flops, count_params, prune
from foad_plugins.benchmarks.criteria import CRITERIA, CriterionContext, CriterionSpec, build_criterion
from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.errors import BenchmarkError
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.runs import prune_to_target as pruning
from foad_plugins.benchmarks.runs.cached_scores import CachedScores
from foad_plugins.benchmarks.runs.prune_to_target import (
    UnreachableTargetError,
    ignored,
    layer_widths,
    prune_by_rule,
    prune_to_target,
)
from foad_plugins.benchmarks.suites.targets import Target
from tests.helpers.seeds import generator

EXAMPLE = torch.zeros(1, 1, 8, 8)
IMAGES = torch.randn(32, 1, 8, 8, generator=generator())
LABELS = torch.arange(32) % 10
HALF = Target(flops_reduction=0.5)


@pytest.fixture
def model() -> nn.Module:
    return build_model(Spec(name="digits-vgg", settings={"widths": (16, 24, 32)}), seed=0).eval()


def book(name: str = "l1", **settings: object) -> CachedScores:
    return CachedScores(
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
        pruned = prune_to_target(model, IMAGES, scores, Target(flops_reduction=1 - kept), tolerance=0.01)
        assert abs(count_flops(pruned.model, EXAMPLE) - kept * base) <= 0.01 * base
        assert pruned.model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
        assert not any(module.training for module in pruned.model.modules())
        assert scores.seconds > 0
        widths.add(tuple(layer_widths(pruned.model).items()))
    assert len(widths) == 1
    assert 0 < pruned.pruning_ratio < 1


def test_the_lowest_scores_are_removed_and_nothing_else_changes(model: nn.Module) -> None:
    before = state_of(model)
    norms = model.features[0].weight.detach().abs().sum((1, 2, 3))
    pruned = prune_to_target(model, IMAGES, book(), HALF, tolerance=0.02)
    kept = norms.topk(pruned.model.features[0].out_channels).indices.sort().values
    assert torch.equal(pruned.model.features[0].weight, model.features[0].weight[kept])
    assert torch.equal(pruned.model.features[1].running_mean, model.features[1].running_mean[kept])
    assert set(pruned.removed["features.0"]) == set(range(16)) - set(kept.tolist())
    assert equal(state_of(model), before)


def test_removed_channels_and_the_widths_that_are_left_make_up_the_model(model: nn.Module) -> None:
    pruned = prune_to_target(model, IMAGES, book("foad"), HALF, tolerance=0.02)
    before, after = layer_widths(model), layer_widths(pruned.model)
    assert set(pruned.removed) == set(before) - {"classifier"}
    for name, channels in pruned.removed.items():
        assert before[name] - len(channels) == after[name]
        assert list(channels) == sorted(set(channels))
        assert all(0 <= channel < before[name] for channel in channels)
    widths = [before[name] for name in pruned.removed]
    assert pruned.pruning_ratio == pytest.approx(sum(map(len, pruned.removed.values())) / sum(widths))


def test_removed_channels_of_a_grouped_convolution_are_recorded_for_all_its_groups() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.Conv2d(8, 12, 3, padding=1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 10),
    ).eval()
    pruned = prune_to_target(model, IMAGES, book(), HALF, tolerance=0.1)
    before, after = layer_widths(model), layer_widths(pruned.model)
    assert pruned.removed.keys() == {"0", "1"}
    assert all(before[name] - len(channels) == after[name] for name, channels in pruned.removed.items())
    kept = [channel for channel in range(12) if channel not in pruned.removed["1"]]
    assert torch.equal(pruned.model[1].bias, model[1].bias[kept])


@pytest.mark.parametrize("order", ["reconstruction", "rounds", "backward"])
@pytest.mark.parametrize(("compensate", "reestimate_bn"), [(None, False), ("least_squares", True)])
def test_foad_is_pruned_as_the_package_does_it(
    model: nn.Module, order: str, compensate: str | None, reestimate_bn: bool
) -> None:
    options = {"compensate": compensate, "reestimate_bn": reestimate_bn, "ranking": "local"}
    expected = copy.deepcopy(model)
    report = prune(expected, IMAGES, flops=0.5, order=order, **options)
    ours = prune_to_target(model, IMAGES, book("foad", order=order), HALF, tolerance=0.01, **options)
    assert equal(state_of(ours.model), state_of(expected))
    assert ours.removed == {group.name: tuple(sorted(group.selection.removed)) for group in report.groups}


@pytest.mark.parametrize("ranking", ["global", "isomorphic", "sensitivity"])
def test_other_rankings_choose_other_widths(model: nn.Module, ranking: str) -> None:
    # Every layer's filters are larger than those of the layer before.
    with torch.no_grad():
        for number, place in enumerate((0, 3, 7, 10, 14, 17)):
            model.features[place].weight.mul_(3.0**number / model.features[place].weight.abs().mean())
    base = count_flops(model, EXAMPLE)
    pruned = prune_to_target(model, IMAGES, book(), HALF, tolerance=0.03, ranking=ranking)
    local = prune_to_target(model, IMAGES, book(), HALF, tolerance=0.02)
    assert abs(count_flops(pruned.model, EXAMPLE) - 0.5 * base) <= 0.03 * base
    if ranking == "global":
        assert len(pruned.removed["features.0"]) > len(local.removed["features.0"])
        assert len(pruned.removed["features.17"]) == 0


def test_both_targets_are_met_by_sensitivity(model: nn.Module) -> None:
    both = Target(flops_reduction=0.5, params_reduction=0.5)
    base = count_flops(model, EXAMPLE), count_params(model)
    pruned = prune_to_target(model, IMAGES, book(), both, tolerance=0.2, ranking="sensitivity").model
    left = count_flops(pruned, EXAMPLE) / base[0], count_params(pruned) / base[1]
    assert max(left) == pytest.approx(0.5, abs=0.02)


def test_compensation_and_statistics_change_weights_and_buffers(model: nn.Module) -> None:
    scores = book()
    states = [
        state_of(prune_to_target(model, IMAGES, scores, HALF, tolerance=0.01, **options).model)
        for options in ({}, {"compensate": "least_squares"}, {"reestimate_bn": True})
    ]
    plain, compensated, moved = states
    assert not torch.equal(plain["features.3.weight"], compensated["features.3.weight"])
    assert torch.equal(plain["features.4.running_mean"], compensated["features.4.running_mean"])
    assert torch.equal(plain["features.3.weight"], moved["features.3.weight"])
    assert not torch.equal(plain["features.4.running_mean"], moved["features.4.running_mean"])


def test_the_rule_alone_is_the_packages_own(model: nn.Module) -> None:
    before, expected = state_of(model), copy.deepcopy(model)
    report = prune(expected, IMAGES, 2, 0.1, ["features.3"])
    ours = prune_by_rule(model, IMAGES, Rule(neighbors=2, threshold=0.1), ignored_layers=("*.3",))
    assert equal(state_of(ours.model), state_of(expected))
    assert equal(state_of(model), before)
    assert ours.removed == {group.name: tuple(sorted(group.selection.removed)) for group in report.groups}
    assert sum(map(len, ours.removed.values())) > 0
    assert "features.3" not in ours.removed


def test_the_operating_point_of_the_rule_is_where_others_end(model: nn.Module) -> None:
    rule = Rule(neighbors=2, threshold=0.05)
    by_rule = prune_by_rule(model, IMAGES, rule)
    base = count_flops(model, EXAMPLE)
    pruned = prune_to_target(model, IMAGES, book(), Target(operating_point=rule), tolerance=0.02)
    assert abs(count_flops(pruned.model, EXAMPLE) - count_flops(by_rule.model, EXAMPLE)) <= 0.02 * base
    assert layer_widths(pruned.model) != layer_widths(model)


def test_an_operating_point_where_the_rule_removes_nothing(model: nn.Module) -> None:
    target = Target(operating_point=Rule(threshold=1.0))
    nothing = pytest.raises(UnreachableTargetError, match="rule .* removes nothing")
    with pytest.warns(match="nothing was pruned"), nothing:
        prune_to_target(model, IMAGES, book(), target, tolerance=0.02)


@pytest.mark.parametrize("kept", [0.3, 0.6])
def test_a_target_for_parameters(model: nn.Module, kept: float) -> None:
    pruned = prune_to_target(model, IMAGES, book(), Target(params_reduction=1 - kept), tolerance=0.02)
    assert count_params(pruned.model) == pytest.approx(kept * count_params(model), abs=0.02 * count_params(model))


def test_targets_for_flops_and_parameters_both(model: nn.Module) -> None:
    target = Target(flops_reduction=0.5, params_reduction=0.7)
    found = [prune_to_target(model, IMAGES, book(name), target, tolerance=0.02) for name in ("l1", "foad")]
    for pruned in found:
        assert count_flops(pruned.model, EXAMPLE) / count_flops(model, EXAMPLE) == pytest.approx(0.5, abs=0.02)
        assert count_params(pruned.model) / count_params(model) == pytest.approx(0.3, abs=0.02)
    assert layer_widths(found[0].model) == layer_widths(found[1].model)


def test_ignored_layers_keep_all_channels(model: nn.Module) -> None:
    target = Target(flops_reduction=0.3)
    pruned = prune_to_target(model, IMAGES, book(), target, tolerance=0.05, ignored_layers=("features.?", "*.17"))
    whole = {name: width for name, width in layer_widths(model).items() if name in ("features.0", "features.3")}
    assert whole.items() <= layer_widths(pruned.model).items()
    assert layer_widths(pruned.model)["features.17"] == 32
    assert layer_widths(pruned.model)["features.10"] < 24
    assert "features.17" not in pruned.removed


def test_patterns_name_layers(model: nn.Module) -> None:
    assert ignored(model, ()) == []
    assert ignored(model, ("features.1*", "classifier")) == ["features.10", "features.14", "features.17", "classifier"]
    with pytest.raises(BenchmarkError, match=r"ignored_layers: 'feature\.\*' fits no layer of DigitsVGG"):
        ignored(model, ("features.*", "feature.*"))


def test_a_target_between_two_widths_cannot_be_met_exactly(model: nn.Module) -> None:
    found = r"ended at 49\.\d\d% of the network's flops, not within 0\.00% of 50\.00%: the search ends within 1%"
    with pytest.raises(UnreachableTargetError, match=found):
        prune_to_target(model, IMAGES, book(), HALF, tolerance=0)


def test_a_target_below_one_channel_a_layer_cannot_be_met() -> None:
    model = build_model(Spec(name="digits-vgg", settings={"widths": (2, 2, 2)}), seed=0).eval()
    with pytest.raises(UnreachableTargetError, match=r"flops=0.05 cannot be met: .* are left"):
        prune_to_target(model, IMAGES, book(), Target(flops_reduction=0.95), tolerance=0.01)


@pytest.mark.parametrize("target", [HALF, Target(operating_point=Rule())])
def test_flops_that_cannot_be_counted(model: nn.Module, monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    monkeypatch.setattr(pruning, "prune", lambda *args, **kwargs: _NotCounted)
    with pytest.raises(UnreachableTargetError, match="cannot count"):
        prune_to_target(model, IMAGES, book(), target, tolerance=0.01)


class _NotCounted:
    flops_before = flops_after = None


@pytest.mark.parametrize("tolerance", [-1, float("nan")])
def test_a_tolerance_out_of_range(model: nn.Module, tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        prune_to_target(model, IMAGES, book(), HALF, tolerance=tolerance)


def test_a_target_must_not_be_empty(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="target: none is given"):
        prune_to_target(model, IMAGES, book(), Target(), tolerance=0.1)
