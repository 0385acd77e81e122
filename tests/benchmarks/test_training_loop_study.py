from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.datasets import ImageData
from foad_plugins.benchmarks.recipe import Recipe
from foad_plugins.benchmarks.studies import training_loop
from foad_plugins.benchmarks.studies.training_loop import Case, bare_loop, ratios

RECIPE = Recipe(epochs=2, learning_rate=0.05, batch_size=4, augmentation="crop-flip", channels_last=True)


@pytest.fixture
def case(chain: nn.Module, images: torch.Tensor) -> Case:
    labels = torch.arange(12) % 3
    return Case("chain", chain, ImageData(images, labels, images, labels), RECIPE, 2)


def test_both_loops_do_the_same_and_a_ratio_comes_of_every_round(case: Case) -> None:
    found = list(ratios(case, 2))
    assert len(found) == 2
    assert all(wall > 0 and processor > 0 for wall, processor in found)


def test_loops_that_differ_are_not_compared(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*args: object, seed: int, **kwargs: object) -> None:
        bare_loop(*args, seed=seed + 1, **kwargs)

    monkeypatch.setattr(training_loop, "bare_loop", other)
    with pytest.raises(RuntimeError, match="chain: the two loops do not do the same"):
        list(ratios(case, 1))
