from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.datasets import ImageData
from foad_plugins.benchmarks.studies import training_loop
from foad_plugins.benchmarks.studies.training_loop import Case, Cost, Round, bare_loop, by_turns, rounds_of
from foad_plugins.benchmarks.training.recipe import Recipe

RECIPE = Recipe(epochs=2, learning_rate=0.05, batch_size=4, augmentation="crop-flip", channels_last=True)


@pytest.fixture
def case(chain: nn.Module, images: torch.Tensor) -> Case:
    labels = torch.arange(12) % 3
    return Case("chain", chain, ImageData(images, labels, images, labels), RECIPE, 2)


def test_both_loops_do_the_same_and_every_step_of_theirs_is_timed(case: Case) -> None:
    found = list(rounds_of(case, 2))
    assert len(found) == 2
    for pieces in (found[0].harness, found[0].bare, found[1].harness, found[1].bare):
        assert len(pieces) == 1 + 2 * 2
        assert min(pieces) > 0


def test_loops_that_differ_are_not_compared(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*args: object, seed: int, **kwargs: object) -> None:
        bare_loop(*args, seed=seed + 1, **kwargs)

    monkeypatch.setattr(training_loop, "bare_loop", other)
    with pytest.raises(RuntimeError, match="chain: the two loops do not do the same"):
        list(rounds_of(case, 1))


def test_two_trainings_take_turns_and_neither_pays_for_the_other() -> None:
    said: list[str] = []

    def loop(name: str, steps: int, pause: float) -> None:
        for _ in range(steps):
            models[name](torch.zeros(1))
            said.append(name)
            time.sleep(pause)

    models = {name: nn.Identity() for name in ("slow", "fast")}
    slow, fast = by_turns(
        [(lambda _: loop("slow", 2, 0.5), models["slow"]), (lambda _: loop("fast", 4, 0.0), models["fast"])]
    )
    assert said == ["slow", "fast", "slow", "fast", "fast", "fast"]
    assert (len(slow), len(fast)) == (3, 5)
    assert min(slow[1:]) >= 0.5 > sum(fast)


def test_a_training_that_fails_lets_the_other_one_end() -> None:
    def fails(model: nn.Module) -> None:
        model(torch.zeros(1))
        raise ValueError("broken")

    def works(model: nn.Module) -> None:
        for _ in range(3):
            model(torch.zeros(1))
        said.append("over")

    said: list[str] = []
    with pytest.raises(ValueError, match="broken"):
        by_turns([(fails, nn.Identity()), (works, nn.Identity())])
    assert said == ["over"]


def test_cost_of_a_step_and_of_what_comes_once() -> None:
    bare = [1.0, 2.0, 4.0, 2.0, 2.0]
    harness = [1.5, 2.2, 4.4, 2.2, 2.3]
    cost = Cost.of([Round(harness, bare)] * 3)
    assert cost.step == pytest.approx(1.1)
    assert cost.interval == pytest.approx((1.1, 1.1))
    assert cost.once == pytest.approx(0.5 + 0.1)
    assert cost.whole == pytest.approx(1.1 + 0.6 / (2.0 * 4))


def test_interval_holds_the_median_of_steps_that_scatter() -> None:
    ones = [1.0] * 101
    cost = Cost.of([Round([1.0, *(1 + step / 100 for step in range(100)), 1.0], [1.0, *ones[:100], 1.0])])
    low, high = cost.interval
    assert cost.step == pytest.approx(1.495)
    # The exact ranks for 100 draws are 40 and 61, counted from 1.
    assert (low, high) == pytest.approx((1.39, 1.6))
