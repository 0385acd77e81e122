from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.criteria.patches import kernels, sampled_patches

EVERYWHERE = 10_000


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (partial(nn.Conv2d, 4, 6, 3, bias=False), (2, 4, 7, 6)),
        (partial(nn.Conv2d, 4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False), (2, 4, 7, 6)),
        (partial(nn.Conv2d, 4, 6, 3, padding=1, padding_mode="reflect", bias=False), (2, 4, 5, 5)),
        (partial(nn.Conv2d, 4, 6, (4, 3), padding="same", bias=False), (2, 4, 5, 5)),
        (partial(nn.Conv2d, 4, 6, 1, groups=2, bias=False), (2, 4, 3, 3)),
        (partial(nn.Conv2d, 4, 8, 3, groups=4, bias=False), (2, 4, 5, 5)),
        (partial(nn.Conv1d, 4, 6, 3, padding=1, bias=False), (2, 4, 5)),
        (partial(nn.Conv3d, 2, 3, 2, bias=False), (2, 2, 3, 4, 3)),
    ],
    ids=["plain", "uneven", "reflect", "same", "grouped", "depthwise", "1d", "3d"],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_kernels_times_patches_are_a_convolutions_outputs(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    layer = build()
    inputs = random(*shape)
    patches = sampled_patches(layer, inputs, torch.zeros(len(inputs), EVERYWHERE))
    outputs = torch.einsum("fck,pck->pf", kernels(layer), patches)
    expected = layer(inputs).flatten(2).transpose(1, 2).flatten(0, 1)
    assert torch.allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4), (3, 5, 4), (3, 2, 5, 4)])
def test_and_a_linear_layers(shape: tuple[int, ...]) -> None:
    layer, inputs = nn.Linear(4, 6, bias=False), random(*shape)
    patches = sampled_patches(layer, inputs, torch.zeros(len(inputs), EVERYWHERE))
    outputs = torch.einsum("fck,pck->pf", kernels(layer), patches)
    assert torch.allclose(outputs, layer(inputs).flatten(0, -2), atol=1e-6)


def test_random_numbers_choose_the_positions_of_each_image() -> None:
    layer = nn.Conv2d(1, 1, 1)
    inputs = torch.arange(24.0).view(2, 1, 3, 4)
    draws = torch.tensor([[0.0, 0.5, 1 - 2**-24], [0.99 / 12, 1.01 / 12, 0.0]])
    assert sampled_patches(layer, inputs, draws).flatten().tolist() == [0, 6, 11, 12, 13, 12]


def test_what_has_no_kernels_or_no_batch_is_refused() -> None:
    with pytest.raises(TypeError, match="ConvTranspose2d"):
        kernels(nn.ConvTranspose2d(2, 3, 1))
    with pytest.raises(TypeError, match="BatchNorm2d"):
        kernels(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="3 dimensions instead of 4"):
        sampled_patches(nn.Conv2d(1, 1, 1), torch.zeros(1, 3, 3), torch.zeros(1, 1))
