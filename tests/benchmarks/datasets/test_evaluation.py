from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.datasets import ImageData
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.sweep.runner import check_logits


class Giving(nn.Module):
    """Flattened images through some function."""

    def __init__(self, then: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.then = then

    def forward(self, images: torch.Tensor) -> Any:
        return self.then(images.flatten(1))


@pytest.fixture
def data(images: torch.Tensor) -> ImageData:
    return ImageData(images, torch.arange(12) % 3, images, torch.arange(12) % 3)


@pytest.mark.parametrize("width", [3, 5])
def test_a_number_for_each_class_or_more(data: ImageData, width: int) -> None:
    model = Giving(lambda flat: flat[:, :width])
    check_logits(model, data)
    assert not model.training


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (
            lambda flat: flat[:, :2],
            r"must give a tensor \(N, 3\), a number for each class, got float32 \(1, 2\) for one",
        ),
        (lambda flat: flat[:, :3, None], r"got float32 \(1, 3, 1\) for one image"),
        (lambda flat: {"logits": flat}, "got dict for one image"),
        (lambda flat: (flat, None), "got tuple for one image"),
        (lambda flat: None, "got NoneType for one image"),
        (
            lambda flat: flat.view(7, -1),
            r"Giving does not run on an image of the data \(float32 \(1, 1, 8, 8\)\): Runt",
        ),
    ],
)
def test_what_gives_no_logits(data: ImageData, then: Callable[[torch.Tensor], Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_logits(Giving(then), data)
