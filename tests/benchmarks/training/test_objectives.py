from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foad_plugins.benchmarks.datasets import ImageData
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.training.objectives import (
    ArcFace,
    Distillation,
    Labels,
    MissingTeacherError,
    objective_for,
)
from foad_plugins.benchmarks.training.recipe import Recipe
from foad_plugins.benchmarks.training.train import train

DISTIL = Recipe(epochs=3, learning_rate=0.02, batch_size=6, objective="distillation")


class Embedder(nn.Module):
    """Two blocks and an embedding."""

    def __init__(self, inner: int = 6) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, inner, 3), nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, 4, 1)),
            nn.Sequential(nn.Conv2d(4, inner, 3), nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, 4, 1)),
        )
        self.out = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.blocks(x).mean((2, 3)))


@pytest.fixture
def data(images: torch.Tensor) -> ImageData:
    labels = torch.arange(len(images)) % 3
    return ImageData(images, labels, images, labels)


def make(recipe: Recipe, model: nn.Module, data: ImageData, teacher: nn.Module | None = None) -> nn.Module:
    return objective_for(recipe, model, classes=data.num_classes, example=data.example, teacher=teacher, seed=0)


def test_labels_are_cross_entropy(images: torch.Tensor) -> None:
    model, labels = Embedder(), torch.arange(12) % 5
    assert torch.equal(Labels(model)(images, labels), F.cross_entropy(model(images), labels))


def test_the_loss_of_distillation_by_hand(images: torch.Tensor) -> None:
    model, teacher = Embedder(3), Embedder()
    objective = Distillation(model, teacher)
    found = objective(images, torch.zeros(12))
    student, target = (network(images).detach().double() for network in (model, teacher.eval()))
    cosines = [float(s @ t / s.norm() / t.norm()) for s, t in zip(student, target, strict=True)]
    share = float(((student - target) ** 2).sum() / (target**2).sum())
    assert found.item() == pytest.approx(sum(1 - c for c in cosines) / 12 + share, rel=1e-4)


def test_equal_networks_are_no_distance_apart(images: torch.Tensor) -> None:
    teacher = Embedder().eval()
    objective = Distillation(copy.deepcopy(teacher), teacher, ("blocks.*",)).eval()
    assert objective(images, torch.zeros(12)).item() == pytest.approx(0, abs=1e-6)


def test_the_term_of_feature_layers(images: torch.Tensor) -> None:
    model, teacher = Embedder(3), Embedder()
    plain = Distillation(model, teacher)(images, torch.zeros(12))
    weighted = Distillation(model, teacher, ("blocks.*",), 0.5)
    assert weighted._layers == ("blocks.0", "blocks.1")
    shares, own, wanted = [], images, images
    for student, original in zip(model.blocks, teacher.eval().blocks, strict=True):
        own, wanted = student(own), original(wanted)
        shares.append(((own - wanted).square().sum() / wanted.square().sum()).item())
    assert (weighted(images, torch.zeros(12)) - plain).item() == pytest.approx(0.5 * sum(shares) / 2, rel=1e-3)
    assert not any(module._forward_hooks for module in (*model.modules(), *teacher.modules()))


def test_gradients_keep_the_layout_of_the_features_and_are_finite_where_nothing_is_off(images: torch.Tensor) -> None:
    teacher = Embedder().eval()
    model = copy.deepcopy(teacher).to(memory_format=torch.channels_last)
    layouts = []

    def kept(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        output.register_hook(lambda gradient: layouts.append(gradient.is_contiguous(memory_format=torch.channels_last)))

    model.blocks[1].register_forward_hook(kept)
    objective = Distillation(model, teacher, ("blocks.1",)).eval()
    objective(images.contiguous(memory_format=torch.channels_last), torch.zeros(12)).backward()
    assert layouts == [True]
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


def test_labels_are_ignored_in_distillation(images: torch.Tensor) -> None:
    objective = Distillation(Embedder(3), Embedder()).eval()
    assert torch.equal(objective(images, torch.zeros(12)), objective(images, torch.ones(12)))


def test_the_teacher_is_left_alone_and_the_student_comes_near(data: ImageData) -> None:
    teacher = Embedder().train()
    before = copy.deepcopy(teacher.state_dict())
    model = copy.deepcopy(teacher)
    with torch.no_grad():
        model.blocks[1][3].weight.mul_(0.2)
    images = data.train_images
    start = (model.eval()(images) - teacher.eval()(images)).square().mean()
    teacher.train()
    recipe = DISTIL.model_copy(update={"epochs": 20, "feature_layers": ("blocks.*",), "augmentation": "flip"})
    train(model, data, recipe, seed=0, teacher=teacher, quiet=True)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert teacher.training
    assert not any(parameter.grad is not None for parameter in teacher.parameters())
    assert (model(images) - teacher.eval()(images)).square().mean() < 0.3 * start


def test_a_classifier_can_be_distilled_too(chain: nn.Module, data: ImageData) -> None:
    student = copy.deepcopy(chain)
    with torch.no_grad():
        student.classifier.weight.add_(0.3)
    before = (student(data.train_images) - chain(data.train_images)).square().mean()
    train(student, data, DISTIL.model_copy(update={"epochs": 15}), seed=0, teacher=chain, quiet=True)
    assert (student(data.train_images) - chain(data.train_images)).square().mean() < before


def test_what_cannot_be_distilled(data: ImageData) -> None:
    with pytest.raises(MissingTeacherError, match="no teacher"):
        make(DISTIL, Embedder(), data)
    recipe = DISTIL.model_copy(update={"feature_layers": ("block.*",)})
    with pytest.raises(SettingsError, match=r"feature_layers: 'block\.\*' fits no layer that both networks have"):
        make(recipe, Embedder(), data, Embedder())
    recipe = DISTIL.model_copy(update={"feature_layers": ("blocks.*.1",)})
    with pytest.raises(SettingsError, match=r"blocks\.0\.1 is of two widths in network and teacher"):
        make(recipe, Embedder(3), data, Embedder())
    other = Embedder()
    other.out = nn.Linear(4, 7)
    with pytest.raises(SettingsError, match="the output is of two widths"):
        make(DISTIL, other, data, Embedder())


def test_the_loss_of_arcface_by_hand(images: torch.Tensor) -> None:
    model, labels = Embedder(), torch.arange(12) % 3
    objective = ArcFace(model, 3, 5, margin=0.4, scale=10)
    objective.draw(torch.Generator().manual_seed(0))
    total = 0.0
    for row, label in zip(model(images).detach().double(), labels.tolist(), strict=True):
        logits = []
        for number, centre in enumerate(objective.head.detach().double()):
            cosine = float(row @ centre / row.norm() / centre.norm())
            angle = math.acos(cosine) + (0.4 if number == label else 0)
            logits.append(10 * (math.cos(angle) if angle <= math.pi else cosine - math.sin(0.4) * 0.4))
        total += math.log(sum(math.exp(value) for value in logits)) - logits[label]
    assert objective(images, labels).item() == pytest.approx(total / 12, rel=1e-4)


def striped(labels: torch.Tensor, seed: int) -> torch.Tensor:
    """Noise over stripes that lie, stand or cross, by label."""
    even = torch.arange(8) % 2 * 2.0 - 1
    kinds = torch.stack([even[:, None].expand(8, 8), even[None].expand(8, 8), even[:, None] * even[None]])
    noise = torch.randn(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return kinds[labels][:, None] + 0.5 * noise


def gap(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Least cosine of two of one label less the greatest of two of different labels."""
    embedded = F.normalize(model.eval()(images).detach())
    likeness = embedded @ embedded.t()
    same = labels[:, None] == labels
    return float(likeness[same].min() - likeness[~same].max())


def test_arcface_separates_people_on_new_images() -> None:
    labels = torch.arange(24) % 3
    train_images, new_images = striped(labels, 1), striped(labels, 2)
    model = Embedder()
    data = ImageData(train_images, labels, new_images, labels)
    recipe = Recipe(epochs=30, learning_rate=0.05, batch_size=8, objective="arcface", scale=8, margin=0.2)
    names = set(model.state_dict())
    before = gap(model, new_images, labels)
    train(model, data, recipe, seed=0, quiet=True)
    assert before < 0 < 0.3 < gap(model, new_images, labels)
    # The class centres are not the network's.
    assert set(model.state_dict()) == names


def test_class_centres_depend_on_the_seed_alone(data: ImageData) -> None:
    recipe = Recipe(epochs=1, learning_rate=0.1, objective="arcface")
    first, again = make(recipe, Embedder(), data), make(recipe, Embedder(), data)
    assert torch.equal(first.head, again.head)


def test_what_arcface_cannot_be_trained_on(data: ImageData) -> None:
    recipe = Recipe(epochs=1, learning_rate=0.1, objective="arcface")
    with pytest.raises(SettingsError, match="these are all of one class"):
        objective_for(recipe, Embedder(), classes=1, example=data.example, teacher=None, seed=0)
    with pytest.raises(SettingsError, match=r"embeddings \(N, D\)"):
        make(recipe, nn.Conv2d(1, 2, 3), data)
