from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from foad_plugins import RefitReport, prune
from foad_plugins.recovery.refitting.moments import Moments
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens, seeded_norms

IMAGES = torch.randn(64, 3, 8, 8, generator=generator())
OTHERS = torch.randn(64, 3, 8, 8, generator=generator(1))
QUICK = {"measure_latency": False}


def error(model, original, images=OTHERS):
    with torch.no_grad():
        expected = original.eval()(images)
        return float((model.eval()(images) - expected).square().mean() / expected.var())


def contents(model):
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: (id(value), value.detach().clone()) for name, value in tensors}


def unchanged(model, before):
    after = contents(model)
    return after.keys() == before.keys() and all(
        after[name][0] == before[name][0] and torch.equal(after[name][1], before[name][1]) for name in before
    )


@pytest.mark.parametrize("network", [Chain, Residual, Concat])
def test_refit_is_nearer_to_the_original_than_least_squares(network):
    original = seeded_norms(network())
    errors = {}
    for method in ("least_squares", "refit"):
        model = copy.deepcopy(original)
        report = prune(model, IMAGES, params=0.6, compensate=method, **QUICK)
        errors[method] = error(model, original)
    assert errors["refit"] < errors["least_squares"]
    assert isinstance(report.refit, RefitReport)
    assert report.refit.changed
    assert "refitted" in str(report)


def test_transformers_and_layers_without_a_fit_are_pruned_too():
    tokens = torch.rand(32, 7, 6, generator=generator(2))
    model = Tokens()
    original = copy.deepcopy(model)
    report = prune(model, tokens, params=0.7, compensate="refit", **QUICK)
    assert report.removed
    assert error(model, original, tokens) < 1


def test_kept_channels_need_not_be_found():
    """With equal values everywhere nothing but the removal itself shows them."""
    original = Chain().eval()
    with torch.no_grad():
        for layer in (original.conv1, original.conv2):
            layer.bias.zero_()
            layer.weight[:2] = 0
    model = copy.deepcopy(original)
    report = prune(model, IMAGES, pruning_ratio=0.5, compensate="refit", **QUICK)
    assert report.refit is not None
    assert report.refit.layers


def test_a_dry_run_changes_nothing():
    model = seeded_norms(Residual())
    before = contents(model)
    report = prune(model, IMAGES, params=0.6, compensate="refit", dry_run=True, **QUICK)
    assert unchanged(model, before)
    assert report.refit is not None


@pytest.mark.parametrize("callback", [None, lambda model, step: None])
@pytest.mark.parametrize("number", [1, 20])
def test_an_interruption_of_the_refit_leaves_the_last_state(callback, number, monkeypatch):
    model = seeded_norms(Chain())
    before, count, add = contents(model), [], Moments.add

    def interrupted(self, x, y):
        count.append(1)
        if len(count) > number:
            raise KeyboardInterrupt
        add(self, x, y)

    monkeypatch.setattr(Moments, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune(model, IMAGES, params=0.6, compensate="refit", callback=callback, **QUICK)
    assert unchanged(model, before)


def test_steps_and_the_rule_are_refitted_too():
    original = seeded_norms(Chain())
    for options in ({"params": 0.5, "steps": 2}, {}):
        model = copy.deepcopy(original)
        report = prune(model, IMAGES, compensate="refit", **options, **QUICK)
        assert report.refit is not None
        plain = copy.deepcopy(original)
        prune(plain, IMAGES, compensate=None, reestimate_bn=False, **options, **QUICK)
        assert error(model, original) < error(plain, original)


def test_a_layer_that_runs_twice_is_compensated_by_least_squares():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 4, 3)

        def forward(self, x):
            x = self.stem(x)
            return self.head(x.relu()).mean((2, 3)) + self.head(x.sigmoid()).mean((2, 3))

    original = Twice()
    model = copy.deepcopy(original)
    report = prune(model, IMAGES, pruning_ratio=0.4, compensate="refit", **QUICK)
    assert report.compensated == ("head",)
    assert report.refit.left_alone == {"head": "it runs more than once"}


def test_a_model_that_cannot_be_copied_is_refused_by_a_clear_error():
    class NoCopy(Chain):
        def __deepcopy__(self, memo):
            raise TypeError("a lock")

    model = NoCopy()
    before = contents(model)
    with pytest.raises(ValueError, match="copy.deepcopy fails: a lock"):
        prune(model, IMAGES, params=0.6, compensate="refit", **QUICK)
    assert unchanged(model, before)


def test_the_pictures_show_the_error_of_each_layer(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    model = seeded_norms(Residual())
    report = prune(model, IMAGES, params=0.6, compensate="refit", **QUICK)
    (panel,) = (panel for panel in report.plot().axes if panel.get_xlabel().startswith("error of the output"))
    drawn = [bar.get_width() for bar in panel.containers[0]]
    assert drawn == [layer.error_before for layer in report.refit.layers]
    page = report.to_html(tmp_path / "report.html").read_text()
    assert "<h2>Refit</h2>" in page
    assert "residual sum" in page
