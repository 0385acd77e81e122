from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional

from foad_plugins import (
    FOADImportance,
    NoEffectWarning,
    UnscoredGroupWarning,
    channel_similarity,
    count_flops,
    count_params,
    greedy_select,
    prune,
)
from foad_plugins.adapters.torch_pruning import calibration
from tests.adapters.torch_pruning.test_importance import _Sometimes
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens, seeded_norms

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())


def snapshot(model):
    return (
        {name: (id(value), value.tolist()) for name, value in [*model.named_parameters(), *model.named_buffers()]},
        [(name, module.training, repr(module)) for name, module in model.named_modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()),
    )


def test_removes_exactly_what_the_rule_removes():
    model = seeded_norms(Chain()).eval()
    original = copy.deepcopy(model)
    with torch.no_grad():
        first = functional.max_pool2d(functional.relu(model.norm1(model.conv1(IMAGES))), 2)
        second = functional.max_pool2d(functional.relu(model.norm2(model.conv2(first))), 2)
    expected = {
        "conv1": greedy_select(channel_similarity(first)),
        "conv2": greedy_select(channel_similarity(second)),
    }
    report = prune(model, IMAGES)
    assert {group.name: group.selection for group in report.groups} == expected
    kept = list(expected["conv1"].kept)
    assert torch.equal(model.conv1.weight, original.conv1.weight[kept])
    assert torch.equal(model.norm1.running_mean, original.norm1.running_mean[kept])
    assert torch.equal(model.conv2.weight, original.conv2.weight[list(expected["conv2"].kept)][:, kept])
    assert model.fc.out_features == 5


@pytest.mark.parametrize("network", [Chain, Residual, Concat, lambda: Chain(groups=4), lambda: Chain(norm="group")])
def test_the_report_matches_the_model(network):
    model = seeded_norms(network())
    before, flops = count_params(model), count_flops(model, IMAGES[:1])
    report = prune(model, IMAGES, neighbors=2)
    assert (report.params_before, report.params_after) == (before, count_params(model))
    assert (report.flops_before, report.flops_after) == (flops, count_flops(model, IMAGES[:1]))
    layers = dict(model.named_modules())
    for layer in report.layers:
        module = layers[layer.name]
        assert layer.after == (module.out_features if isinstance(module, nn.Linear) else module.out_channels)
    widths = {layer.name: layer for layer in report.layers}
    for group in report.groups:
        kept = len(group.selection.kept) * group.channel_groups
        assert (widths[group.name].before, widths[group.name].after) == (
            group.selection.num_channels * group.channel_groups,
            kept,
        )
        assert group.layers[0] == group.name
    assert report.removed > 0
    text = str(report)
    assert f"params {before:,} -> {count_params(model):,}" in text
    assert "one multiply-add is one" in text
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.params_after = 0
    model.train()(IMAGES).sum().backward()


def test_tokens():
    model, tokens = Tokens(), torch.rand(6, 7, 6)
    report = prune(model, tokens)
    assert model.hidden.out_features == model.back.in_features < 24
    assert model.embed.out_features == model.back.out_features < 16
    assert model(tokens).shape == (6, 3)
    assert report.removed > 0


def test_flags_frozen_layers_and_ignored_layers_are_kept():
    model = seeded_norms(Chain()).train()
    model.norm1.eval()
    model.conv1.requires_grad_(False)
    report = prune(model, IMAGES, ignored_layers=["conv2"])
    assert [module.training for module in model.children()] == [True, False, True, True, True]
    assert not model.conv1.weight.requires_grad
    assert model.conv2.weight.requires_grad
    assert model.conv1.out_channels < 8
    assert model.conv2.out_channels == 12
    assert [group.name for group in report.groups] == ["conv1"]
    other = seeded_norms(Chain())
    prune(other, IMAGES, ignored_layers=[other.conv1])
    assert other.conv1.out_channels == 8


def test_a_wholly_frozen_model():
    model = Chain().requires_grad_(False)
    prune(model, IMAGES)
    assert model.conv1.out_channels < 8
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
@pytest.mark.parametrize("options", [{}, {"flops": 0.6}, {"pruning_ratio": 0.3, "compensate": "representative"}])
def test_less_memory_needs_a_pass_for_each_group_and_removes_the_same(options, monkeypatch):
    one = seeded_norms(Residual()).eval()
    other = copy.deepcopy(one)
    expected = prune(one, IMAGES, **options)
    passes = []
    calibrate = calibration.calibrate

    def counted(model, data, channel_sets, *grams):
        passes.append(len(channel_sets))
        return calibrate(model, data, channel_sets, *grams)

    monkeypatch.setattr(calibration, "calibrate", counted)
    report = prune(other, IMAGES, max_memory=1, **options)
    assert len(report.groups) > 1
    assert passes == [1] * len(report.groups)
    assert [group.selection for group in report.groups] == [group.selection for group in expected.groups]
    # Products are shared with the similarities of the first pass only, and differ by rounding.
    torch.testing.assert_close(other.state_dict(), one.state_dict(), atol=1e-5, rtol=1e-4)
    assert all(group.similarity is None for group in report.groups)
    assert all(group.similarity is not None for group in expected.groups)


def test_nothing_to_remove_is_a_warning():
    model = Chain()
    # Two channels that no image excites are copies of each other, and random weights may have some.
    for layer in (model.conv1, model.conv2):
        nn.init.constant_(layer.bias, 3.0)
    before = snapshot(model)
    with pytest.warns(NoEffectWarning, match="nothing was pruned"):
        report = prune(model, IMAGES, threshold=1.0)
    assert report.removed == 0
    assert report.params_after == report.params_before
    assert snapshot(model) == before


def test_a_generator_and_a_forward_function():
    model, other = seeded_norms(Chain()), seeded_norms(Chain())
    other.load_state_dict(model.state_dict())
    report = prune(model, IMAGES)
    assert prune(copy.deepcopy(other), (part for part in IMAGES.split(2))).groups == report.groups
    called = prune(copy.deepcopy(other), [{"pixels": IMAGES}], forward_fn=lambda net, batch: net(batch["pixels"]))
    assert called.groups == report.groups
    assert called.flops_before is None
    assert "FLOPs" not in str(called)


def test_a_group_that_never_runs_is_not_pruned():
    model = _Sometimes()

    def forward(net, batch):
        net.both = torch.is_grad_enabled()
        return net(batch)

    with pytest.warns(UnscoredGroupWarning, match="'spare'"):
        prune(model, [IMAGES], forward_fn=forward)
    assert model.spare.out_channels == 6


class _Fixed(nn.Module):
    """Reshapes to a width that is written down, so that removal breaks it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.conv = nn.Conv2d(6, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(self.norm(self.conv(self.first(x))).reshape(len(x), 8, 16).mean(2))


def _tied():
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 8))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    ("build", "arguments", "error", "message"),
    [
        (Chain, {"data": IMAGES[0]}, ValueError, "batch dimension"),
        (Chain, {"data": []}, ValueError, "gave no batch"),
        (Chain, {"data": IMAGES * float("inf")}, ValueError, "layer 'conv2'"),
        (Chain, {"data": 3}, TypeError, "data must be"),
        (Chain, {"neighbors": 0}, ValueError, "neighbors"),
        (Chain, {"threshold": -1.0}, ValueError, "threshold"),
        (Chain, {"ignored_layers": ["conv11"]}, ValueError, "no layer 'conv11'; did you mean 'conv1'"),
        (Chain, {"ignored_layers": ["zzz"]}, ValueError, "no layer 'zzz'$"),
        (Chain, {"ignored_layers": [nn.Identity()]}, ValueError, "no layer of the model"),
        (Chain, {"ignored_layers": [3]}, TypeError, "modules and names"),
        (lambda: nn.Sequential(nn.ReLU(), nn.Flatten()), {}, ValueError, "no convolution or linear layer"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), {}, ValueError, "no convolution or linear layer"),
        (_Fixed, {"on_wrong_removal": "error"}, RuntimeError, "shape"),
        (Chain, {"on_wrong_removal": "skip"}, ValueError, "must be 'keep' or 'error', got 'skip'"),
        (_tied, {"on_wrong_removal": "error"}, ValueError, "layers '0' and '1' share a parameter"),
    ],
)
def test_errors_leave_the_model_unchanged(build, arguments, error, message):
    model = build().train()
    before = snapshot(model)
    with pytest.raises(error, match=message):
        prune(model, **{"data": IMAGES, **arguments})
    assert snapshot(model) == before


def test_a_model_that_torch_pruning_cannot_trace(monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError("no width")

    monkeypatch.setattr("torch_pruning.dependency.graph.index_mapping.update_index_mapping", fail)
    model = Chain()
    before = snapshot(model)
    with pytest.raises(ValueError, match="Torch-Pruning cannot trace the model: ZeroDivisionError"):
        prune(model, IMAGES)
    assert snapshot(model) == before


def test_a_model_that_fails_under_the_tracer_that_counts_has_no_flops():
    class ByTable(Chain):
        def forward(self, x):
            return super().forward(x * {8: 1.0}[x.shape[-1]])

    model = ByTable()
    report = prune(model, IMAGES, params=0.5, measure_latency=False)
    assert (report.flops_before, report.flops_after) == (None, None)
    assert report.params_after < report.params_before
    with pytest.raises(ValueError, match="FLOPs of this model cannot be counted"):
        prune(model, IMAGES, flops=0.5)


def test_outputs_on_the_way_keep_their_shape():
    class Features(Residual):
        def forward(self, x):
            first = functional.relu(self.stem(x))
            return super().forward(x), first

    model = Features()
    report = prune(model, IMAGES, pruning_ratio=0.5, order="rounds", compensate=None, measure_latency=False)
    assert (model.stem.out_channels, model.block1[0].out_channels) == (8, 3)
    assert [group.name for group in report.groups] == ["block1.0"]


class _MaxFeatureMap(nn.Module):
    """The greater of two halves, as in LightCNN."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(8, 12, 3), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.second(torch.maximum(*self.first(x).chunk(2, 1))).relu().mean((2, 3)))


@pytest.mark.parametrize("options", [{}, {"pruning_ratio": 0.25, "order": "rounds", "compensate": None}])
def test_halves_of_a_max_feature_map_are_removed_together(options):
    model = _MaxFeatureMap()
    original = copy.deepcopy(model)
    report = prune(model, IMAGES, measure_latency=False, **options)
    selection = {group.name: group.selection for group in report.groups}["first"]
    assert selection.removed
    kept = [*selection.kept, *(8 + channel for channel in selection.kept)]
    assert torch.equal(model.first.weight, original.first.weight[kept])
    assert len(selection.kept) == model.second.in_channels == (6 if options else model.first.out_channels // 2)


def test_torch_prunings_pruners_remove_whole_channels_of_a_max_feature_map():
    model = _MaxFeatureMap()
    fresh = {"in_channel_groups": {}, "out_channel_groups": {}, "num_heads": {}}
    pruner = tp.pruner.MetaPruner(
        model, (IMAGES[:1],), FOADImportance(IMAGES), pruning_ratio=0.5, ignored_layers=[model.head], **fresh
    )
    pruner.step()
    assert (model.first.out_channels, model.second.in_channels, model.second.out_channels) == (8, 4, 6)
    model(IMAGES).sum().backward()


def test_a_single_layer_name_is_a_name():
    model = Chain()
    prune(model, IMAGES, ignored_layers="conv1")
    assert model.conv1.out_channels == 8
    assert model.conv2.out_channels < 12


@pytest.mark.parametrize("place", ["flops_table", "count_params"])
def test_too_little_memory_while_counting_is_an_error_and_leaves_the_model_unchanged(monkeypatch, place):
    from foad_plugins.adapters.prune import model_size

    def fail(*args):
        raise MemoryError("none left")

    model = seeded_norms(Chain())
    before = snapshot(model)
    monkeypatch.setattr(model_size, place, fail)
    if place == "count_params":
        monkeypatch.setattr(model_size, "flops_table", lambda *args: (_ for _ in ()).throw(RuntimeError("no graph")))
    with pytest.raises(MemoryError, match="none left"):
        prune(model, torch.rand(4, 3, 8, 8), pruning_ratio=0.5)
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("settings", "phases"),
    [
        ({"flops": 0.6}, ("compensating",)),
        ({"flops": 0.6, "compensate": "refit", "ranking": "sensitivity"}, ("sensitivity", "refitting")),
        ({"latency": 0.99}, ("timing narrower networks",)),
    ],
)
def test_progress_names_every_phase(settings, phases, capsys, monkeypatch):
    monkeypatch.setattr(
        "foad_plugins.adapters.prune.planner.measure_latency", lambda model, *_, **__: float(count_params(model))
    )
    prune(Chain(), IMAGES, progress=True, **settings)
    shown = capsys.readouterr().err
    always = ("counting", "timing the model", "tracing", "calibrating", "ranking", "removing and verifying")
    for phase in (*always, *phases):
        assert f"{phase}:" in shown
    prune(Chain(), IMAGES, **settings)
    assert capsys.readouterr().err == ""
