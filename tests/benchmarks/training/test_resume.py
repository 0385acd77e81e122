from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.datasets import ImageData
from foad_plugins.benchmarks.training import train as training
from foad_plugins.benchmarks.training.recipe import Recipe
from foad_plugins.benchmarks.training.resume import TrainingState, forget_state, state_file
from foad_plugins.benchmarks.training.train import train

FAST = Recipe(epochs=4, learning_rate=0.05, batch_size=5, augmentation="crop-flip-color")


@pytest.fixture
def data(images: torch.Tensor) -> ImageData:
    labels = (images.mean((1, 2, 3)) > 0).long()
    return ImageData(images, labels, images, labels)


@pytest.fixture(autouse=True)
def _kept_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_SAVE_EVERY", 0.0)


def broken_off(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let training stop in the middle of the epoch that follows so many."""
    epoch, done = training._epoch, []

    def run(*args: object) -> float:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(1)
        return epoch(*args)

    monkeypatch.setattr(training, "_epoch", run)


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "adamw"}, {"channels_last": True}, {"objective": "arcface", "scale": 4.0}]
)
def test_a_resumed_training_ends_as_if_it_had_not_been_interrupted(
    chain: nn.Module, data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    recipe = FAST.model_copy(update=changes)
    whole, parts = copy.deepcopy(chain), copy.deepcopy(chain)
    expected = train(whole, data, recipe, seed=1, measure=True, quiet=True)
    path = tmp_path / "state.pt"
    with monkeypatch.context() as patch:
        broken_off(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(parts, data, recipe, seed=1, measure=True, state=path, quiet=True)
    assert path.exists()
    parts = copy.deepcopy(chain)
    with monkeypatch.context() as patch:
        broken_off(patch, 2)
        found = train(parts, data, recipe, seed=1, measure=True, state=path, quiet=True)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in parts.state_dict().items())
    assert [epoch.train_loss for epoch in found] == [epoch.train_loss for epoch in expected]
    assert [epoch.test_accuracy for epoch in found] == [epoch.test_accuracy for epoch in expected]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_a_fused_optimizer_resumes_with_channels_last(tmp_path: Path, optimizer: type[torch.optim.Optimizer]) -> None:
    # A fused step goes through memory: it wants weights, gradients and its own state laid out alike. A GPU says so, a
    # CPU takes the wrong numbers.
    images = torch.randn(2, 3, 5, 5).to(memory_format=torch.channels_last)
    settings: dict[str, Any] = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}

    def start() -> tuple[nn.Module, TrainingState]:
        torch.manual_seed(0)
        network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        made = optimizer(network.parameters(), lr=0.1, fused=True, **settings)
        return network, TrainingState(network, made, torch.Generator())

    def step(network: nn.Module, state: TrainingState) -> None:
        state.optimizer.zero_grad()
        network(images).square().sum().backward()
        state.optimizer.step()

    whole, state = start()
    step(whole, state)
    path = tmp_path / "states" / "state.pt"
    path.parent.mkdir()
    state.save(path, "key", 1, 1, [])
    step(whole, state)
    parts, again = start()
    assert again.load(path, "key") == (1, 1, [])
    step(parts, again)
    for name, value in parts.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name])


def test_a_training_that_is_over_is_not_done_again(chain: nn.Module, data: ImageData, tmp_path: Path) -> None:
    path, start = tmp_path / "state.pt", copy.deepcopy(chain)
    first = train(chain, data, FAST, seed=1, measure=True, state=path, quiet=True)
    again = train(start, data, FAST, seed=1, measure=True, state=path, quiet=True)
    assert again == first
    assert all(torch.equal(value, chain.state_dict()[name]) for name, value in start.state_dict().items())


def test_a_short_training_leaves_no_file(
    chain: nn.Module, data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_SAVE_EVERY", 10.0)
    train(chain, data, FAST, seed=1, state=tmp_path / "state.pt", quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", ["seed", "recipe", "weights", "file"])
def test_another_training_does_not_resume_from_it(
    chain: nn.Module, data: ImageData, tmp_path: Path, other: str
) -> None:
    path = tmp_path / "state.pt"
    train(copy.deepcopy(chain), data, FAST, seed=1, state=path, quiet=True)
    if other == "weights":
        with torch.no_grad():
            chain.conv1.weight.mul_(1.1)
    elif other == "file":
        path.write_bytes(path.read_bytes()[:200])
    seed, recipe = (2 if other == "seed" else 1), FAST
    if other == "recipe":
        recipe = FAST.model_copy(update={"learning_rate": 0.01})
    expected, found = copy.deepcopy(chain), copy.deepcopy(chain)
    train(expected, data, recipe, seed=seed, quiet=True)
    train(found, data, recipe, seed=seed, state=path, quiet=True)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in found.state_dict().items())


def test_nothing_is_written_where_there_is_no_results_folder(chain: nn.Module, data: ImageData, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "states" / "state.pt"
    train(chain, data, FAST.model_copy(update={"epochs": 1}), seed=1, state=path, quiet=True)
    assert not path.parent.parent.exists()


def test_the_folder_is_removed_when_it_is_empty(tmp_path: Path) -> None:
    folder = tmp_path / "states"
    for name in ("run-seed0", "run-seed1"):
        path = state_file(folder, f"{name}.json")
        assert path == folder / f"{name}.pt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"state")
    forget_state(folder, "run-seed0.json")
    assert [path.name for path in folder.iterdir()] == ["run-seed1.pt"]
    forget_state(folder, "run-seed1.json")
    assert not folder.exists()
    forget_state(folder, "run-seed1.json")
    assert state_file(None, "run-seed0.json") is None
