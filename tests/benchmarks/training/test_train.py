from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.datasets import Batch, ImageData, ImageSource
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.training import train as training
from foad_plugins.benchmarks.training.hardware import Hardware
from foad_plugins.benchmarks.training.recipe import Recipe, learning_rate_at
from foad_plugins.benchmarks.training.train import TrainingDivergedError, evaluate, train

FAST = Recipe(epochs=3, learning_rate=0.05, batch_size=8)


class Streamed(ImageSource):
    """The images of another source, read again for every batch, on the CPU."""

    def __init__(self, inner: ImageData) -> None:
        self.inner = inner
        self.read = 0

    train_count = property(lambda self: self.inner.train_count)
    test_count = property(lambda self: self.inner.test_count)
    num_classes = property(lambda self: self.inner.num_classes)
    hash = property(lambda self: self.inner.hash)
    device = property(lambda self: self.inner.device)
    example = property(lambda self: self.inner.example)

    def to(self, device: torch.device | str) -> Streamed:
        assert torch.device(device) == self.device
        return self

    def train_batches(self, batch_size: int, random: torch.Generator, *, augment: bool = False) -> Iterator[Batch]:
        for images, labels in self.inner.train_batches(batch_size, random, augment=augment):
            self.read += 1
            yield images.clone(), labels.clone()

    def test_batches(self, batch_size: int = 512) -> Iterator[Batch]:
        return self.inner.test_batches(batch_size)

    def pick(self, chosen: torch.Tensor) -> Batch:
        return self.inner.pick(chosen)


class Plain(nn.Module):
    """A network without batch normalization, which each share of a batch sees as the whole does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.linear = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture
def data(images: torch.Tensor) -> ImageData:
    labels = (images.mean((1, 2, 3)) > 0).long()
    return ImageData(images, labels, images, labels)


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def by_hand(model: nn.Module, data: ImageData, recipe: Recipe, seed: int) -> None:
    """The same training as a plain loop over hand-made batches."""
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    model.train()
    step, steps = 0, recipe.epochs * 2
    for _ in range(recipe.epochs):
        order = torch.randperm(12, generator=random)
        for chosen in (order[:8], order[8:]):
            optimizer.param_groups[0]["lr"] = learning_rate_at(recipe, step, steps)
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(model(data.train_images[chosen]), data.train_labels[chosen]).backward()
            optimizer.step()
            step += 1
    model.eval()


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_it_is_the_loop_one_would_write(chain: nn.Module, data: ImageData, schedule: str) -> None:
    recipe = FAST.model_copy(update={"schedule": schedule})
    expected = copy.deepcopy(chain)
    by_hand(expected, data, recipe, 4)
    train(chain, data, recipe, seed=4, quiet=True)
    assert torch.equal(flat(chain), flat(expected))


def test_equal_seeds_give_equal_weights_and_others_do_not(chain: nn.Module, data: ImageData) -> None:
    trained = []
    for seed, noise in ((5, 1), (5, 2), (6, 1)):
        model = copy.deepcopy(chain)
        torch.manual_seed(noise)
        train(model, data, FAST, seed=seed, quiet=True)
        trained.append(flat(model))
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


def test_augmentation_changes_the_images_by_the_seed_alone(chain: nn.Module, data: ImageData) -> None:
    before = data.train_images.clone()
    trained = []
    for augmentation, noise in (("none", 1), ("crop-flip", 1), ("crop-flip", 2)):
        model = copy.deepcopy(chain)
        torch.manual_seed(noise)
        train(model, data, FAST.model_copy(update={"augmentation": augmentation}), seed=5, quiet=True)
        trained.append(flat(model))
    assert not torch.equal(trained[0], trained[1])
    assert torch.equal(trained[1], trained[2])
    assert torch.equal(data.train_images, before)


def test_streamed_images_train_as_those_in_memory(chain: nn.Module, data: ImageData) -> None:
    other, streamed = copy.deepcopy(chain), Streamed(data)
    first = train(chain, data, FAST, seed=5, measure=True, quiet=True)
    second = train(other, streamed, FAST, seed=5, measure=True, quiet=True)
    assert torch.equal(flat(chain), flat(other))
    assert [epoch.train_loss for epoch in first] == [epoch.train_loss for epoch in second]
    assert streamed.read == 6


def test_training_learns_and_ends_in_eval_mode_without_gradients(chain: nn.Module, data: ImageData) -> None:
    before = nn.functional.cross_entropy(chain(data.train_images), data.train_labels).item()
    assert train(chain, data, FAST, seed=0, quiet=True) == []
    after = nn.functional.cross_entropy(chain(data.train_images), data.train_labels).item()
    assert after < before / 2
    assert not any(module.training for module in chain.modules())
    assert all(parameter.grad is None for parameter in chain.parameters())


def test_measuring_changes_nothing_and_gives_loss_and_accuracy_of_each_epoch(chain: nn.Module, data: ImageData) -> None:
    other = copy.deepcopy(chain)
    recipe = FAST.model_copy(update={"learning_rate": 1e-9, "batch_size": 12})
    train(other, data, recipe, seed=0, quiet=True)
    loss = nn.functional.cross_entropy(copy.deepcopy(chain).train()(data.train_images), data.train_labels).item()
    epochs = train(chain, data, recipe, seed=0, measure=True, quiet=True)
    assert torch.equal(flat(chain), flat(other))
    assert [epoch.train_loss for epoch in epochs] == pytest.approx([loss] * 3, rel=1e-5)
    assert epochs[-1].test_accuracy == evaluate(chain, data)
    assert all(epoch.seconds > 0 for epoch in epochs)


def test_no_epochs_change_nothing(chain: nn.Module, data: ImageData) -> None:
    before = flat(chain).clone()
    assert train(chain, data, FAST.model_copy(update={"epochs": 0}), seed=0, measure=True, quiet=True) == []
    assert torch.equal(flat(chain), before)


class Spy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 2)
        self.sizes: list[int] = []
        self.seen: list[float] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        self.seen.extend(x.flatten().tolist())
        return self.linear(x.flatten(1))


def numbers(count: int) -> ImageData:
    images, labels = torch.arange(float(count)).view(-1, 1, 1, 1), torch.zeros(count, dtype=torch.long)
    return ImageData(images, labels, images, labels, num_classes=2)


def test_each_image_is_used_once_an_epoch_and_a_lone_last_one_joins_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(training, "learning_rate_at", lambda recipe, *step: asked.append(step) or 0.01)
    spy = Spy()
    train(spy, numbers(9), Recipe(epochs=2, learning_rate=0.01, batch_size=4), seed=0, quiet=True)
    assert spy.sizes == [4, 5, 4, 5]
    assert sorted(spy.seen[:9]) == sorted(spy.seen[9:]) == list(range(9))
    assert spy.seen[:9] != sorted(spy.seen[:9])
    assert spy.seen[:9] != spy.seen[9:]
    assert asked == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_a_limit_cuts_every_epoch_and_the_schedule_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(training, "learning_rate_at", lambda recipe, *step: asked.append(step) or 0.01)
    spy = Spy()
    recipe = Recipe(epochs=2, learning_rate=0.01, batch_size=4)
    train(spy, numbers(20), recipe, seed=0, limit_steps=2, quiet=True)
    assert spy.sizes == [4] * 4
    assert asked == [(0, 4), (1, 4), (2, 4), (3, 4)]
    train(spy, numbers(4), recipe, seed=0, limit_steps=2, quiet=True)
    assert asked[4:] == [(0, 2), (1, 2)]


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_loss_that_is_no_number_stops_the_training(images: torch.Tensor, devices: int) -> None:
    images[0] = torch.inf
    data = ImageData(images, torch.arange(12) % 2, images, torch.arange(12) % 2)
    model = Plain()
    with pytest.raises(TrainingDivergedError, match="^base model: the loss became nan at step 2 of 6$"):
        train(model, data, FAST, seed=0, hardware=Hardware(devices=devices), description="base model", quiet=True)
    assert not model.training


def test_a_network_with_nothing_to_train(images: torch.Tensor) -> None:
    data = ImageData(images, torch.arange(12) % 2, images, torch.arange(12) % 2)
    for model in (nn.Flatten(), Plain().requires_grad_(False)):
        with pytest.raises(SettingsError, match="no parameter that can be trained"):
            train(model, data, FAST, seed=0, quiet=True)


def test_channels_last_gives_the_same_network_and_leaves_weights_contiguous(chain: nn.Module, data: ImageData) -> None:
    other = copy.deepcopy(chain)
    layouts = []
    other.conv2.register_forward_pre_hook(
        lambda module, args: layouts.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    train(chain, data, FAST, seed=0, quiet=True)
    train(other, data, FAST.model_copy(update={"channels_last": True}), seed=0, quiet=True)
    assert layouts
    assert all(layouts)
    assert all(tensor.is_contiguous() for tensor in (*other.parameters(), *other.buffers()))
    torch.testing.assert_close(flat(other), flat(chain), rtol=1e-3, atol=1e-4)


def test_bfloat16_trains_float32_weights(chain: nn.Module, data: ImageData) -> None:
    other, kinds = copy.deepcopy(chain), []
    other.classifier.register_forward_hook(lambda module, args, output: kinds.append(output.dtype))
    train(chain, data, FAST, seed=0, quiet=True)
    train(other, data, FAST, seed=0, hardware=Hardware(precision="bf16-mixed"), quiet=True)
    assert set(kinds) == {torch.bfloat16}
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}
    assert not torch.equal(flat(other), flat(chain))
    torch.testing.assert_close(flat(other), flat(chain), rtol=0.1, atol=0.1)
    assert other(data.test_images).dtype == torch.float32


@pytest.mark.slow
def test_two_processes_train_the_network_of_one(data: ImageData) -> None:
    model = Plain()
    other = copy.deepcopy(model)
    # Batches of seven and of five: shares of one batch differ by an image.
    recipe = FAST.model_copy(update={"batch_size": 7, "augmentation": "crop-flip"})
    one = train(model, data, recipe, seed=3, measure=True, quiet=True)
    two = train(other, data, recipe, seed=3, measure=True, hardware=Hardware(devices=2), quiet=True)
    torch.testing.assert_close(flat(other), flat(model), rtol=1e-5, atol=1e-6)
    assert [epoch.test_accuracy for epoch in two] == [epoch.test_accuracy for epoch in one]
    assert [epoch.train_loss for epoch in two] == pytest.approx([epoch.train_loss for epoch in one], rel=1e-5)
    assert not other.training
    assert all(tensor.device.type == "cpu" and not tensor.is_shared() for tensor in other.state_dict().values())


def test_accuracy_is_the_fraction_of_right_answers_whatever_the_batches() -> None:
    logits = torch.eye(4).repeat(2, 1).view(8, 4, 1, 1)
    labels = torch.tensor([0, 1, 2, 0, 0, 0, 2, 3])
    data = ImageData(logits, labels, logits, labels)
    assert evaluate(nn.Flatten(), data) == 6 / 8
    assert evaluate(nn.Flatten(), data, batch_size=3) == 6 / 8


def test_accuracy_is_measured_in_eval_mode(chain: nn.Module, images: torch.Tensor) -> None:
    expected = chain(images).argmax(1)
    chain.train()
    assert evaluate(chain, ImageData(images, expected, images, expected)) == 1.0
    assert not chain.training


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_images_and_networks_of_the_cpu(chain: nn.Module, data: ImageData) -> None:
    other = copy.deepcopy(chain)
    train(chain, data, FAST, seed=0, quiet=True)
    train(other, data, FAST, seed=0, hardware=Hardware(device="cuda"), quiet=True)
    torch.testing.assert_close(flat(other), flat(chain), rtol=1e-2, atol=1e-3)
    assert evaluate(other.cuda(), data) == pytest.approx(evaluate(chain, data.to("cuda")), abs=0.1)
