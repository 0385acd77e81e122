from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from foad_plugins import prune
from foad_plugins.benchmarks.datasets import ImageData
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.training.hardware import Hardware
from foad_plugins.benchmarks.training.recipe import Recipe
from foad_plugins.benchmarks.training.recovery import recover_by_recipe
from foad_plugins.benchmarks.training.train import TrainingDivergedError, evaluate
from tests.helpers.seeds import generator

RECIPE = Recipe(
    epochs=3, objective="recovery", learning_rate=0.01, batch_size=8, augmentation="crop-flip", weight_decay=1e-4
)


class WithoutLabels(ImageData):
    """Fails where training labels are read with the images."""

    def train_batches(self, *arguments, **settings):
        raise AssertionError("batches with labels were read")


@pytest.fixture
def data() -> ImageData:
    images = torch.randn(40, 1, 8, 8, generator=generator())
    labels = (images.mean((1, 2, 3)) > 0).long()
    return WithoutLabels(images, labels, images[:16], labels[:16])


@pytest.fixture
def networks(data: ImageData) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    original = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    ).eval()
    model = copy.deepcopy(original)
    images, _ = data.calibration(16, seed=0)
    prune(model, images, pruning_ratio=0.5, compensate=None, measure_latency=False)
    return model, original


def run(networks, data, recipe=RECIPE, seed=0, **changes):
    model, original = copy.deepcopy(networks[0]), networks[1]
    settings = {"hardware": Hardware(), "quiet": True} | changes
    return model, recover_by_recipe(model, original, data, recipe, seed=seed, **settings)


def test_the_network_comes_nearer_to_the_original_and_is_measured_once(networks, data):
    model, epochs = run(networks, data)
    images, _ = data.calibration(40, seed=1)

    def distance(network):
        with torch.no_grad():
            return (network(images) - networks[1](images)).square().mean()

    assert distance(model) < distance(networks[0])
    assert [epoch.test_accuracy for epoch in epochs] == [None, None, evaluate(model, data)]
    assert all(epoch.train_loss > 0 for epoch in epochs)


def test_labels_decide_nothing(networks, data):
    other = WithoutLabels(data.train_images, 1 - data.train_labels, data.test_images, data.test_labels)
    first, second = run(networks, data)[0], run(networks, other)[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_seeds_and_an_interrupted_training(networks, data, tmp_path):
    whole, _ = run(networks, data)
    again, _ = run(networks, data, state=tmp_path / "state.pt")
    other, _ = run(networks, data, seed=1)
    resumed, _ = run(networks, data, state=tmp_path / "state.pt")
    same = [
        [torch.equal(a, b) for a, b in zip(whole.parameters(), one.parameters(), strict=True)]
        for one in (again, resumed)
    ]
    assert all(map(all, same))
    assert not torch.equal(whole[0].weight, other[0].weight)


def test_a_short_run_has_all_its_epochs(networks, data):
    assert len(run(networks, data, limit_steps=1)[1]) == 3
    long = RECIPE.model_copy(update={"epochs": 30})
    assert len(run(networks, data, long, limit_steps=1)[1]) == 30


def test_what_cannot_be_done_is_an_error(networks, data):
    with pytest.raises(SettingsError, match="one device"):
        run(networks, data, hardware=Hardware(devices=2))
    with pytest.raises(SettingsError, match="feature_layers"):
        run(networks, data, RECIPE.model_copy(update={"feature_layers": ("nothing.*",)}))
    with pytest.raises(TrainingDivergedError, match="learning_rate"):
        run(networks, data, RECIPE.model_copy(update={"learning_rate": 1e30}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "step"}, "must be 'cosine' for recovery"),
        ({"momentum": 0.5}, "must be 0.9 for recovery"),
        ({"weight_decays": {"*": 0.0}}, "for recovery"),
        ({"objective": "labels", "loss": "kl"}, "only for recovery"),
    ],
)
def test_settings_without_an_effect_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate(RECIPE.model_dump() | changes)
