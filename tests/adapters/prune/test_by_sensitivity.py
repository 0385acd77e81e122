from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import TargetError, prune, sensitivity
from foad_plugins.adapters.prune.probes import MeasuredCurves
from foad_plugins.allocation import GroupCurve
from tests.helpers.pruned import IMAGES, run, shares
from tests.helpers.seeds import SEED, generator
from tests.helpers.state_fingerprint import trace
from tests.networks.small_networks import Attention, Chain, Concat, Residual, Tokens, Wide, seeded_norms

TOKENS = torch.rand(40, 7, 6, generator=generator(1))
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


def built(name="wide"):
    torch.manual_seed(SEED)
    make, images = NETWORKS[name]
    return seeded_norms(make()).eval(), images


def by_sensitivity(model, images=IMAGES, **options):
    original = copy.deepcopy(model)
    report = run(model, images, **{"ranking": "sensitivity", **options})
    return report, shares(model, original, images[:1])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("target", [{"params": 0.7}, {"pruning_ratio": 0.4}])
def test_every_kind_of_group(name, target):
    model, images = built(name)
    shape = model(images[:2]).shape
    report, left = by_sensitivity(model, images, **target)
    assert report.removed
    assert model(images[:2]).shape == shape
    if "params" in target and name in ("wide", "tokens"):
        assert left[1] == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("target", [{"flops": 0.5}, {"params": 0.4}])
def test_targets_are_met_with_the_widths_that_the_curves_give(target):
    model, images = built()
    expected = sensitivity(model, images).widths(**target)
    report, left = by_sensitivity(model, images, **target)
    assert left["params" in target] == pytest.approx(*target.values(), abs=0.01)
    found = {group.name: len(group.selection.kept) for group in report.groups}
    assert found == pytest.approx({group.name: group.after for group in expected.groups}, abs=2)


def test_the_output_changes_less_than_with_equal_shares():
    errors = []
    for ranking in ("local", "sensitivity"):
        model, images = built()
        original = copy.deepcopy(model)
        run(model, images, flops=0.4, ranking=ranking)
        with torch.no_grad():
            errors.append(float((model(images) - original(images)).square().mean()))
    assert errors[1] < errors[0]


class ConvThenLinear(nn.Module):
    """Most of the FLOPs are in the convolutions, and most of the parameters in the linear layers."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU())
        self.linears = nn.Sequential(nn.Linear(24, 160), nn.ReLU(), nn.Linear(160, 48), nn.ReLU(), nn.Linear(48, 5))

    def forward(self, x):
        return self.linears(self.convs(x).mean((2, 3)))


def equal_curves(model, candidates, data, **options):
    """As if every group lost as much at every share."""
    counts = [list(range(1, candidate.group.channels_per_group)) for candidate in candidates]
    curves = [
        GroupCurve(
            candidate.group.name,
            candidate.group.layer_names,
            candidate.group.channels_per_group,
            1,
            tuple(removed),
            tuple((count / candidate.group.channels_per_group) ** 2 for count in removed),
            tuple((count / candidate.group.channels_per_group) ** 2 for count in removed),
            (True,) * len(removed),
        )
        for candidate, removed in zip(candidates, counts, strict=True)
    ]
    return MeasuredCurves(tuple(curves), 10, 1.0, 0.0, ())


@pytest.mark.parametrize(("flops", "params"), [(0.4, 0.4), (0.3, 0.3)])
@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
def test_two_targets_are_met_at_once(monkeypatch, flops, params):
    monkeypatch.setattr("foad_plugins.adapters.prune.by_sensitivity.measure_curves", equal_curves)
    torch.manual_seed(SEED)
    report, left = by_sensitivity(ConvThenLinear().eval(), flops=flops, params=params, ranking=None)
    assert left == pytest.approx((flops, params), abs=0.015)
    assert not any("is met to" in note for note in report.notes)


def test_a_target_that_follows_from_the_other_is_noted():
    model, images = built()
    report, left = by_sensitivity(model, images, flops=0.95, params=0.4)
    assert left[1] == pytest.approx(0.4, abs=0.01)
    assert left[0] < 0.9
    assert any(note.startswith("flops=0.95 follows from the other target") for note in report.notes)


def test_two_targets_that_the_cost_model_misses_are_corrected():
    model, images = built("attention")
    original = copy.deepcopy(model)
    prune(model, images, flops=0.7, params=0.5, measure_latency=False)
    left = shares(model, original, images[:1])
    assert max(left[0] - 0.7, left[1] - 0.5) == pytest.approx(0, abs=0.012)


def test_caps_ratios_rounding_and_steps():
    model, images = built()
    report, left = by_sensitivity(
        model,
        images,
        params=0.6,
        round_to=4,
        max_pruning_ratio={"last": 0.25},
        pruning_ratio_dict={"body.0": 0.5},
        steps=2,
    )
    assert model.body[0].out_channels == 20
    assert model.last.out_channels >= 24
    assert all(layer.out_channels % 4 == 0 for layer in (model.stem, model.body[0], model.last))
    assert left[1] == pytest.approx(0.6, abs=0.03)
    assert len(report.groups) == 2 * report.coupled_groups


def test_a_dry_run_changes_nothing():
    model, images = built()
    before = trace(model)
    dry, _ = by_sensitivity(model, images, flops=0.5, dry_run=True)
    assert trace(model) == before
    real, _ = by_sensitivity(model, images, flops=0.5)
    assert [group.selection.removed for group in dry.groups] == [group.selection.removed for group in real.groups]


def test_channels_are_those_of_the_importance():
    model, images = built()
    scores = model.last.weight.detach().flatten(1).norm(p=1, dim=1)
    importance = tp.importance.MagnitudeImportance(p=1, group_reduction="first", normalizer=None)
    report, _ = by_sensitivity(model, images, flops=0.6, importance=importance)
    group = next(group for group in report.groups if group.name == "last")
    removed = group.selection.removed
    assert set(removed) == set(scores.argsort()[: len(removed)].tolist())


def test_latency_is_searched_along_the_removals_by_sensitivity(monkeypatch):
    def fake(model, *args, **kwargs):
        return float(sum(parameter.numel() for parameter in model.parameters()))

    monkeypatch.setattr("foad_plugins.adapters.prune.planner.measure_latency", fake)
    model, images = built()
    _, left = by_sensitivity(model, images, latency=0.7)
    assert left[1] <= 0.7


class OfDicts(Wide):
    def forward(self, x):
        out = super().forward(x)
        return {"scores": [out], "pair": (out.softmax(1), 3, None)}


def test_any_form_of_output():
    torch.manual_seed(SEED)
    report, left = by_sensitivity(seeded_norms(OfDicts()).eval(), flops=0.6)
    assert report.removed
    assert left[0] == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"flops": 0.5, "params": 0.4, "ranking": "local"}, ValueError, "ranking='sensitivity'.*got 'local'"),
        ({"flops": 0.5, "latency": 0.4}, ValueError, "give one target, got flops and latency.*can be given together"),
        ({"params": 0.5, "latency": 0.4}, ValueError, "give one target"),
        ({"flops": 0.5, "params": 1.4}, ValueError, "params is the share"),
        ({"flops": 0.5, "data": IMAGES[:1], "ranking": "sensitivity"}, ValueError, "single image"),
        ({"ranking": "sensitivity"}, ValueError, "ranking has no effect with the published rule"),
        (
            {"flops": 0.1, "params": 0.1, "max_pruning_ratio": 0.3},
            TargetError,
            r"flops=0\.1 and params=0\.1 cannot be met: the least that can is",
        ),
        (
            {"flops": 0.1, "max_pruning_ratio": 0.3, "ranking": "sensitivity"},
            TargetError,
            r"flops=0\.1 cannot be met.*of the original's FLOPs are left",
        ),
    ],
)
def test_arguments_out_of_their_range_are_refused_and_change_nothing(arguments, error, message):
    model, images = built()
    before = trace(model)
    with pytest.raises(error, match=message):
        prune(model, **{"data": images, "measure_latency": False, **arguments})
    assert trace(model) == before


class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Chain()
        self.generator = torch.Generator().manual_seed(SEED)

    def forward(self, x):
        return self.net(x) + torch.randn(len(x), 5, generator=self.generator)


def test_random_outputs_are_refused():
    torch.manual_seed(SEED)
    with pytest.raises(ValueError, match="other outputs each time"):
        by_sensitivity(Random().eval(), flops=0.5)


def test_a_group_whose_consumers_get_fewer_channels_than_expected_keeps_its_own(monkeypatch):
    from foad_plugins.adapters.torch_pruning.replacement import InputReplacement

    model, images = built()
    first = next(name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    apply = InputReplacement.apply

    def narrow(self, tensor):
        shared = dict(model.named_modules())[first].weight.shape[0]
        return apply(self, tensor[:, : shared // 4] if tensor.shape[1] == shared else tensor)

    monkeypatch.setattr(InputReplacement, "apply", narrow)
    report, _ = by_sensitivity(model, images, params=0.8)
    (note,) = (note for note in report.notes if "in another way than Torch-Pruning's graph tells" in note)
    kept = note.split("'")[1]
    assert (
        next(layer for layer in report.layers if layer.name == kept).after
        == next(layer for layer in report.layers if layer.name == kept).before
    )
