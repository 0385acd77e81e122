from __future__ import annotations

import pytest
import torch

from foad_plugins.benchmarks.datasets import Normalization


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (600, 3, 4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_measured_channels_come_out_even(images: torch.Tensor) -> None:
    for given in (images, images.float() * 7):
        result = Normalization.of(given).apply(given)
        assert result.dtype == torch.float32
        assert result.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
        assert result.std((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)


def test_what_is_given_is_taken(images: torch.Tensor) -> None:
    measured = Normalization.of(images)
    half = Normalization.of(images, mean=[0, 0, 0])
    assert half.mean == (0, 0, 0)
    assert half.deviation == measured.deviation
    both = Normalization.of(images, (0.1, 0.2, 0.3), (1, 2, 4))
    before = images.clone()
    assert both.apply(images)[5, 2, 1, 1] == pytest.approx((float(images[5, 2, 1, 1]) / 255 - 0.3) / 4)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.1], None, r"mean must hold 3 numbers, one a channel, got \[0.1\]"),
        (None, [1, 1], "std must hold 3 numbers"),
        ([], None, "mean must hold 3 numbers"),
        (None, [1, 0, 1], "std above 0"),
        (None, [1, float("nan"), 1], "std above 0"),
    ],
)
def test_numbers_that_do_not_fit(
    images: torch.Tensor, mean: list[float] | None, std: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Normalization.of(images, mean, std)


def test_a_constant_channel_cannot_be_scaled(images: torch.Tensor) -> None:
    images[:, 1] = 77
    with pytest.raises(ValueError, match="std above 0"):
        Normalization.of(images)
