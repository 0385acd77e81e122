from __future__ import annotations

import json
from functools import partial

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from foad_plugins import FOADImportance, Sensitivity, count_flops, count_params, sensitivity, sensitivity_ratios
from foad_plugins.adapters.prune.probes import GRID
from foad_plugins.calibration.collect import calibrate
from tests.helpers.seeds import SEED, generator
from tests.helpers.state_fingerprint import Fault, StrikesAt, points_of, trace
from tests.networks.small_networks import Attention, Chain, Concat, Residual, Tokens, Wide, seeded_norms

IMAGES = torch.rand(64, 3, 8, 8, generator=generator())
TOKENS = torch.rand(64, 7, 6, generator=generator(1))
NETWORKS = {
    "chain": (Chain, IMAGES),
    "groups": (partial(Chain, groups=4), IMAGES),
    "group norm": (partial(Chain, norm="group"), IMAGES),
    "residual": (Residual, IMAGES),
    "concat": (Concat, IMAGES),
    "tokens": (Tokens, TOKENS),
    "attention": (Attention, TOKENS),
    "wide": (Wide, IMAGES),
}


def build(name="wide"):
    torch.manual_seed(SEED)
    make, images = NETWORKS[name]
    return seeded_norms(make()).eval(), images


def pruned_by(model, ratios, images, **options):
    options = {"importance": tp.importance.GroupMagnitudeImportance(), **options}
    tp.pruner.MetaPruner(model, images[:2], pruning_ratio=0.0, pruning_ratio_dict=ratios, **options).step()
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_curves_rise_and_leave_the_model_unchanged(name):
    model, images = build(name)
    model.train()
    before = trace(model)
    curves = sensitivity(model, images, probes="grid")
    assert trace(model) == before
    assert curves.groups
    for curve in curves.groups:
        assert curve.loss(0) == 0
        assert curve.loss(curve.channels - 1) > 0
        assert curve.removed[-1] == curve.channels - 1
        assert all(loss >= 0 for loss in curve.losses)
        assert sum(curve.measured) >= min(len(GRID), curve.channels - 1)


def test_one_probe_for_each_group_by_default():
    model, images = build()
    curves = sensitivity(model, list(images.split(16)))
    assert [sum(curve.measured) for curve in curves.groups] == [1] * len(curves.groups)
    # A run for the products, two of the original and one for each group, over a quarter of the images.
    assert curves.passes == 1 + (2 + len(curves.groups)) / 4
    assert curves.images == 16


def test_the_loss_is_measured_on_images_that_fitted_nothing():
    # With as few images as channels a reconstruction is exact on its own images, at any share.
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5)).eval()
    images = torch.randn(32, 64, generator=generator(2))
    curve = sensitivity(model, images).groups[0]
    assert curve.loss(16) > 0.02


def test_a_loader_that_shuffles_is_divided_in_the_same_way_each_time(monkeypatch):
    model, images = build()
    numbered = images.clone()
    numbered[:, 0, 0, 0] = torch.arange(len(images)) / 100
    loader = DataLoader(TensorDataset(numbered), batch_size=10, shuffle=True)
    phases: list[list[int]] = []

    def recorded(*args, **kwargs):
        phases.append([])
        return calibrate(*args, **kwargs)

    def forward(network, batch):
        if phases:
            phases[-1] += [round(100 * float(image[0, 0, 0])) for image in batch[0]]
        return network(batch[0])

    monkeypatch.setattr("foad_plugins.adapters.prune.probes.calibrate", recorded)
    sensitivity(model, loader, forward_fn=forward)
    fitted, held_out = set(phases[0]), set(phases[1])
    assert fitted.isdisjoint(held_out)
    assert fitted | held_out == set(range(len(images)))


@pytest.mark.parametrize("target", [{"flops": 0.6}, {"params": 0.4}, {"pruning_ratio": 0.5}])
@pytest.mark.parametrize("name", ["wide", "tokens", "residual"])
def test_ratios_go_into_a_pruner_and_meet_the_target(name, target):
    model, images = build(name)
    before = count_flops(model, images[:1]), count_params(model)
    ratios = sensitivity_ratios(model, images, **target)
    curves = sensitivity(model, images)
    assert set(ratios) == {model.get_submodule(layer) for curve in curves.groups for layer in curve.layers}
    chosen = curves.widths(**target)
    pruned = pruned_by(model, ratios, images)
    for group in chosen.groups:
        layer = pruned.get_submodule(group.name)
        assert getattr(layer, "out_channels", getattr(layer, "out_features", None)) == group.after
    left = count_flops(pruned, images[:1]) / before[0], count_params(pruned) / before[1]
    assert left == pytest.approx((chosen.flops, chosen.params), abs=1e-6)
    if name == "wide" and "pruning_ratio" not in target:
        assert left["params" in target] == pytest.approx(*target.values(), abs=0.02)


def test_both_targets_are_met():
    model, images = build()
    curves = sensitivity(model, images)
    alone = curves.widths(flops=0.6)
    both = curves.widths(flops=0.6, params=alone.params - 0.1)
    assert both.params == pytest.approx(alone.params - 0.1, abs=0.02)
    assert both.flops <= 0.61
    assert sum(group.loss for group in both.groups) >= sum(group.loss for group in alone.groups)


def test_caps_rounding_and_fixed_ratios():
    model, images = build()
    curves = sensitivity(model, images)
    widths = {group.name: group for group in curves.widths(flops=0.6, round_to=8).groups}
    assert all(group.after % 8 == 0 for group in widths.values())
    capped = curves.widths(flops=0.7, max_pruning_ratio={"last": 0.25}, pruning_ratio_dict={"body.0": 0.5})
    after = {group.name: group.ratio for group in capped.groups}
    assert after["last"] <= 0.25
    assert after["body.0"] == 0.5
    with pytest.raises(ValueError, match=r"flops=0\.3 cannot be met.*max_pruning_ratio"):
        curves.widths(flops=0.3, max_pruning_ratio=0.2)


@pytest.mark.parametrize("importance", [tp.importance.GroupMagnitudeImportance(), FOADImportance(IMAGES)])
def test_the_order_of_any_importance_is_measured(importance):
    model, images = build()
    default = sensitivity(model, images)
    other = sensitivity(model, images, importance=importance)
    assert [curve.name for curve in other.groups] == [curve.name for curve in default.groups]
    assert [curve.losses for curve in other.groups] != [curve.losses for curve in default.groups]


def test_a_loss_of_ones_own_takes_the_place_of_the_difference():
    model, images = build()
    labels = torch.arange(64) % 5

    def cross_entropy(network):
        return functional.cross_entropy(network(images), labels)

    curves = sensitivity(model, images, loss=cross_entropy, probes=[0.25, 0.75])
    assert curves.loss == "cross_entropy"
    assert [sum(curve.measured) for curve in curves.groups] == [2] * len(curves.groups)


def test_without_compensation_the_loss_is_larger():
    model, images = build()
    compensated, zeroed = sensitivity(model, images), sensitivity(model, images, compensate=None)
    pairs = zip(compensated.groups, zeroed.groups, strict=True)
    assert all(first.loss(first.channels // 2) < second.loss(second.channels // 2) for first, second in pairs)


class Ignores(nn.Module):
    """The output does not depend on one of the groups."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.useless = nn.Conv2d(8, 8, 1)
        self.silent = nn.Conv2d(8, 8, 1, bias=False)
        self.head = nn.Conv2d(8, 5, 1)
        nn.init.zeros_(self.silent.weight)

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.silent(self.useless(x).relu())).mean((2, 3))


def test_channels_that_the_output_does_not_depend_on_are_removed_first():
    torch.manual_seed(SEED)
    curves = sensitivity(Ignores().eval(), IMAGES)
    useless = next(curve for curve in curves.groups if curve.name == "useless")
    assert set(useless.losses) == {0.0}
    widths = {group.name: group for group in curves.widths(params=0.76, max_pruning_ratio=0.75).groups}
    assert widths["useless"].after == 2


class DividesBy(nn.Module):
    """Not finite once too many channels are zero."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.pick = nn.Conv2d(8, 1, 1, bias=False)
        nn.init.ones_(self.conv.bias)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.pick.weight)
        self.pick.weight.data[:, 3] = 1.0
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = self.conv(x)
        return self.head(x).mean((2, 3)) / self.pick(x).mean((2, 3))


class InOrder(tp.importance.Importance):
    def __call__(self, group):
        return torch.arange(len(group[0].idxs), dtype=torch.float32)


def test_shares_at_which_the_output_is_not_finite_are_not_allowed():
    torch.manual_seed(SEED)
    curves = sensitivity(DividesBy().eval(), IMAGES, importance=InOrder(), compensate=None, ignored_layers=["pick"])
    curve = next(curve for curve in curves.groups if curve.name == "conv")
    assert curve.limit == 3
    assert any("not finite" in note and "'conv'" in note for note in curves.notes)
    widths = curves.widths(pruning_ratio=0.2)
    assert {group.name: group.before - group.after for group in widths.groups}["conv"] <= 3


class Dropped(Chain):
    """Random also in eval mode."""

    def forward(self, x):
        return super().forward(functional.dropout(x, 0.5, training=True))


class Noisy(Chain):
    """Draws from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(SEED)

    def forward(self, x):
        return super().forward(x) + torch.randn(len(x), 5, generator=self.generator)


def test_random_layers_draw_the_same_each_time():
    torch.manual_seed(SEED)
    model = Dropped().eval()
    assert sensitivity(model, IMAGES).groups == sensitivity(model, IMAGES).groups


def test_outputs_that_are_random_are_refused():
    torch.manual_seed(SEED)
    with pytest.raises(ValueError, match="other outputs each time.*forward_fn"):
        sensitivity(Noisy().eval(), IMAGES)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Chain()

    def forward(self, x):
        return [str(value) for value in self.net(x).argmax(1).tolist()]


def test_outputs_without_tensors_need_a_forward_fn():
    torch.manual_seed(SEED)
    model = Words().eval()
    with pytest.raises(ValueError, match="returns no tensor"):
        sensitivity(model, IMAGES)
    assert sensitivity(model, IMAGES, forward_fn=lambda network, batch: network.net(batch)).groups


def test_data_that_can_be_read_only_once():
    model, images = build()
    assert sensitivity(model, iter(images.split(16))).groups == sensitivity(model, list(images.split(16))).groups


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": IMAGES[:1]}, ValueError, "single image"),
        ({"loss": "mse"}, ValueError, "'output' or 'kl'"),
        ({"loss": 3}, TypeError, "callable as loss"),
        ({"loss": lambda model: "high"}, TypeError, "must give a number"),
        ({"loss": lambda model: float("nan")}, ValueError, "finite number for the unpruned model"),
        ({"probes": []}, ValueError, "probes"),
        ({"probes": [0.5, 1.0]}, ValueError, "probes"),
        ({"probes": 0.5}, TypeError, "probes"),
        ({"compensate": "best"}, ValueError, "compensate"),
        ({"order": "best"}, ValueError, "order"),
        ({"importance": FOADImportance}, TypeError, "importance"),
        ({"ignored_layers": ["sten"]}, ValueError, "did you mean 'stem'"),
    ],
)
def test_arguments_out_of_their_range_are_refused(arguments, error, message):
    model, images = build()
    with pytest.raises(error, match=message):
        sensitivity(model, **{"data": images, **arguments})


def test_a_fault_anywhere_leaves_no_trace():
    model, images = build("chain")
    before = trace(model)

    def run():
        sensitivity(model, images[:8])

    points = points_of(run)
    for point in range(0, points, points // 12):
        with pytest.raises(Fault), StrikesAt(point):
            run()
        assert trace(model) == before


def test_curves_are_saved_and_belong_to_their_model(tmp_path):
    model, images = build()
    curves = sensitivity(model, images)
    path = curves.save(tmp_path / "curves.json")
    loaded = Sensitivity.load(path, model)
    assert loaded == curves
    assert loaded.ratios(model, flops=0.5) == curves.ratios(model, flops=0.5)
    with torch.no_grad():
        model.fc.bias.add_(1)
    with pytest.raises(ValueError, match="belong to another model"):
        loaded.ratios(model, flops=0.5)
    with pytest.raises(ValueError, match="belong to another model"):
        Sensitivity.load(path, build("chain")[0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("groups"),
        lambda content: content.update(format="other"),
        lambda content: content["groups"][0]["losses"].pop(),
        lambda content: content["costs"]["outputs"].append([99, 0, 1.0]),
        lambda content: content["costs"].update(groups=1),
        lambda content: content.update(extra=1),
    ],
)
def test_damaged_files_are_refused(tmp_path, damage):
    model, images = build()
    path = sensitivity(model, images).save(tmp_path / "curves.json")
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no sensitivity curves"):
        Sensitivity.load(path)


def test_files_that_are_no_json_are_refused(tmp_path):
    path = tmp_path / "curves.json"
    path.write_text("curves")
    with pytest.raises(ValueError, match="no sensitivity curves"):
        Sensitivity.load(path)


def test_results_print_themselves():
    model, images = build()
    curves = sensitivity(model, images)
    assert "body.0" in str(curves)
    assert "of the FLOPs" in str(curves.widths(flops=0.5))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121"])
def test_ratios_of_torchvision_models_meet_the_target(name):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(SEED)
    model = models.get_model(name, weights=None).eval()
    images = torch.randn(16, 3, 64, 64)
    before = count_flops(model, images[:1])
    head = list(model.modules())[-1]
    ratios = sensitivity_ratios(model, images, flops=0.5)
    assert head not in ratios
    small = pruned_by(model, ratios, images)
    assert count_flops(small, images[:1]) / before == pytest.approx(0.5, abs=0.02)
    assert small(images[:2]).shape == (2, 1000)
