from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foad_plugins.benchmarks.criteria.feature_maps import watch_producer_maps


def seen_maps(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is handed on, by layer name, copied at once because later operations may overwrite it."""
    names = {module: name for name, module in model.named_modules()}
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    maps: dict[str, torch.Tensor] = {}

    def keep(layer: nn.Module, tensor: torch.Tensor) -> None:
        assert names[layer] not in maps
        maps[names[layer]] = tensor.clone()

    with torch.no_grad(), watch_producer_maps(layers, keep):
        model(x)
    return maps


class Net(nn.Module):
    """Convolution, BN and an activation, written in the way that is given."""

    def __init__(self, activation: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.act = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Questions about shape lie between, as in many networks.
        y = self.conv(x)
        y = self.bn(y) if y.size(0) == y.shape[0] and y.dim() == 4 else y
        return F.max_pool2d(self.act(y), 2)


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        F.relu,
        torch.relu,
        torch.Tensor.relu_,
        nn.SiLU(),
        nn.Hardswish(inplace=True),
    ],
    ids=["module", "module-inplace", "functional", "torch", "method-inplace", "silu", "hardswish-inplace"],
)
def test_the_map_is_taken_after_bn_and_activation(activation: object, images: torch.Tensor) -> None:
    model = Net(activation).eval()
    with torch.no_grad():
        expected = activation(model.bn(model.conv(images)))
    assert torch.equal(seen_maps(model, images)["conv"], expected)


def test_without_an_activation_the_map_is_taken_after_bn(images: torch.Tensor) -> None:
    model = Net(lambda y: y).eval()
    with torch.no_grad():
        expected = model.bn(model.conv(images))
    assert torch.equal(seen_maps(model, images)["conv"], expected)


def test_a_sum_in_place_comes_too_late_to_change_the_map(residual: nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        stem = torch.relu(residual.stem(images))
        branch = residual.bn(residual.conv(stem))
        logits = residual(images)
    maps = seen_maps(residual, images)
    assert torch.equal(maps["stem"], stem)
    assert torch.equal(maps["conv"], branch)
    assert torch.equal(maps["classifier"], logits)


def test_tensors_inside_a_list_are_noticed(images: torch.Tensor) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 2, 1)
            self.b = nn.Conv2d(1, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = self.a(x), self.b(x)
            torch._foreach_zero_([a, b])
            return torch.cat([a, b], 1)

    model = InPlace()
    with torch.no_grad():
        expected_a, expected_b = model.a(images), model.b(images)
    maps = seen_maps(model, images)
    assert torch.equal(maps["a"], expected_a)
    assert torch.equal(maps["b"], expected_b)


def test_all_hooks_are_removed_also_after_an_exception(chain: nn.Module) -> None:
    def fail(layer: nn.Module, tensor: torch.Tensor) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), watch_producer_maps([chain.conv1], fail):
        chain(torch.zeros(1, 1, 8, 8))
    assert not chain.conv1._forward_hooks
    assert chain(torch.zeros(1, 1, 8, 8)).shape == (1, 3)
