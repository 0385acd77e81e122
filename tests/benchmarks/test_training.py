from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from foad_plugins.benchmarks.training import Recipe, TrainingDivergedError, evaluate, learning_rate_at, train

FAST = Recipe(epochs=3, learning_rate=0.05, batch_size=8)


@pytest.fixture
def labels(images: torch.Tensor) -> torch.Tensor:
    return (images.mean((1, 2, 3)) > 0).long()


def test_equal_seeds_give_equal_weights_and_others_do_not(
    chain: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    trained = []
    for seed, noise in ((5, 1), (5, 2), (6, 1)):
        model = copy.deepcopy(chain)
        torch.manual_seed(noise)
        train(model, images, labels, FAST, seed=seed, quiet=True)
        trained.append(torch.cat([value.flatten().float() for value in model.state_dict().values()]))
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


def test_augmentation_changes_the_images_by_the_seed_alone(
    chain: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    before = images.clone()
    trained = []
    for augmentation, noise in (("none", 1), ("crop-flip", 1), ("crop-flip", 2)):
        model = copy.deepcopy(chain)
        torch.manual_seed(noise)
        recipe = FAST.model_copy(update={"augmentation": augmentation})
        train(model, images, labels, recipe, seed=5, quiet=True)
        trained.append(model.conv1.weight.detach())
    assert not torch.equal(trained[0], trained[1])
    assert torch.equal(trained[1], trained[2])
    assert torch.equal(images, before)


def test_training_learns_and_ends_in_eval_mode_without_gradients(
    chain: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    before = nn.functional.cross_entropy(chain(images), labels).item()
    train(chain, images, labels, FAST, seed=0, quiet=True)
    after = nn.functional.cross_entropy(chain(images), labels).item()
    assert after < before / 2
    assert not any(module.training for module in chain.modules())
    assert all(parameter.grad is None for parameter in chain.parameters())


def test_no_epochs_change_nothing(chain: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    before = copy.deepcopy(chain.state_dict())
    train(chain, images, labels, FAST.model_copy(update={"epochs": 0}), seed=0, quiet=True)
    assert all(torch.equal(value, before[key]) for key, value in chain.state_dict().items())


def test_each_image_is_used_once_an_epoch_and_a_lone_last_one_joins_others() -> None:
    sizes: list[int] = []
    seen: list[float] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            seen.extend(x.flatten().tolist())
            return self.linear(x)

    numbers = torch.arange(9.0).view(9, 1)
    recipe = Recipe(epochs=1, learning_rate=0.01, batch_size=4)
    train(Spy(), numbers, torch.zeros(9, dtype=torch.long), recipe, seed=0, quiet=True)
    assert sizes == [4, 5]
    assert sorted(seen) == numbers.flatten().tolist()
    assert seen != sorted(seen)


def test_a_loss_that_is_no_number_stops_the_training(chain: nn.Module, images: torch.Tensor) -> None:
    images[0] = torch.inf
    with pytest.raises(TrainingDivergedError, match="base model: the loss became nan"):
        train(
            chain,
            images,
            torch.zeros(12, dtype=torch.long),
            FAST,
            seed=0,
            description="base model",
            quiet=True,
        )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("cosine", [1.0, 0.853553, 0.5, 0.146447]), ("step", [1.0, 1.0, 0.1, 0.01])],
)
def test_schedules_at_the_quarters(schedule: str, expected: list[float]) -> None:
    recipe = Recipe(epochs=1, learning_rate=1.0, schedule=schedule)
    assert [learning_rate_at(recipe, step, 4) for step in range(4)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"learning_rate": 0},
        {"momentum": 1},
        {"batch_size": 1},
        {"schedule": "up"},
        {"x": 1},
        {"augmentation": "all"},
    ],
)
def test_recipes_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Recipe(**{"epochs": 1, "learning_rate": 0.1, **wrong})


def test_accuracy_is_the_fraction_of_right_answers_whatever_the_batches() -> None:
    logits = torch.eye(4).repeat(2, 1)
    labels = torch.tensor([0, 1, 2, 0, 0, 0, 2, 3])
    assert evaluate(nn.Identity(), logits, labels) == 6 / 8
    assert evaluate(nn.Identity(), logits, labels, batch_size=3) == 6 / 8
    with pytest.raises(ValueError, match="at least one image"):
        evaluate(nn.Identity(), logits[:0], labels[:0])


def test_accuracy_is_measured_in_eval_mode(chain: nn.Module, images: torch.Tensor) -> None:
    expected = chain(images).argmax(1)
    chain.train()
    assert evaluate(chain, images, expected) == 1.0
