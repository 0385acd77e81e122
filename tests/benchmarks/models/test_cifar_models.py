"""The networks of the pruning papers: sizes as published, and each can be pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from foad_plugins import count_flops, count_params, prune
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.models import CIFARResNet, build_model
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.runs.weights_file import WeightsFile

from ...conftest import data_file

NAMES = [
    "vgg16-cifar",
    "resnet20",
    "resnet56",
    "resnet110",
    "foad-resnet20",
    "foad-resnet56",
    "foad-resnet110",
    "densenet40",
    "googlenet-cifar",
]


def built(name: str, **settings: Any) -> nn.Module:
    return build_model(Spec(name=name, settings=settings), seed=0).eval()


def multiply_adds(model: nn.Module, size: int = 32) -> int:
    """Those of convolutions and linear layers, which is what papers count, from the shapes that pass by."""
    total = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        total += weight.numel() * (output[0, 0].numel() if isinstance(module, nn.Conv2d) else 1)

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return total


def layer_weights(model: nn.Module) -> int:
    """Weights of convolutions and linear layers without biases and BN, which some papers count alone."""
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear))


@pytest.mark.parametrize(
    ("name", "settings", "millions"),
    [
        # He et al. 2016, table 6; with option A, as there.
        ("resnet20", {"shortcut": "padding"}, "0.27"),
        ("resnet56", {"shortcut": "padding"}, "0.85"),
        ("resnet110", {"shortcut": "padding"}, "1.7"),
        # Fang et al. 2023 (DepGraph), whose benchmark has option B.
        ("resnet56", {}, "0.86"),
        # Huang et al. 2017, table 2: DenseNet (k = 12), depth 40.
        ("densenet40", {"stem": 16}, "1.0"),
        # Shi et al. 2024, by their checkpoint.
        ("foad-resnet56", {}, "0.8211"),
        # Li et al. 2017 give 1.5e7 with a hidden linear layer of 512; without it, as in FOAD and DepGraph, 14.7 M.
        ("vgg16-cifar", {}, "14.7"),
    ],
)
def test_parameters_as_published(name: str, settings: dict[str, Any], millions: str) -> None:
    digits = len(millions.split(".")[1])
    assert f"{count_params(built(name, **settings)) / 1e6:.{digits}f}" == millions


@pytest.mark.parametrize(
    ("name", "settings", "params", "flops"),
    [
        # Lin et al. 2020 (HRank), tables 1 to 4 ("0.85M", "125.49M" and so on): the unpruned networks.
        ("resnet56", {"shortcut": "padding"}, 0.85e6, 125.49e6),
        ("resnet110", {"shortcut": "padding"}, 1.72e6, 252.89e6),
        ("densenet40", {}, 1.04e6, 282.00e6),
        ("googlenet-cifar", {}, 6.15e6, 1.52e9),
    ],
)
def test_weights_and_multiply_adds_as_in_hrank(
    name: str, settings: dict[str, Any], params: float, flops: float
) -> None:
    model = built(name, **settings)
    assert layer_weights(model) == pytest.approx(params, rel=0.006)
    assert multiply_adds(model) == pytest.approx(flops, rel=0.005)


def test_vggs_multiply_adds_as_published() -> None:
    # HRank's 313.73 M include a hidden linear layer of 512, 0.26 M; Li et al. 2017: 3.13e8.
    assert multiply_adds(built("vgg16-cifar")) == pytest.approx(313.73e6 - 512 * 512, rel=0.001)


@pytest.mark.parametrize("name", NAMES)
def test_the_count_of_flops_adds_little_to_the_layers(name: str) -> None:
    model = built(name)
    ours, layers = count_flops(model, torch.zeros(1, 3, 32, 32)), multiply_adds(model)
    # fvcore counts BN and pooling too.
    assert layers <= ours < 1.03 * layers


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_classes(name: str) -> None:
    assert built(name, num_classes=7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    with pytest.raises(SettingsError, match=f"model '{name}'.*num_classes.*at least 1"):
        built(name, num_classes=0)


@pytest.mark.parametrize("name", ["vgg16-cifar", "resnet20", "foad-resnet20", "densenet40"])
@pytest.mark.filterwarnings("ignore::foad_plugins.utils.warnings.InsufficientDataWarning")
def test_half_of_the_flops_can_be_removed(name: str) -> None:
    model = built(name)
    images = torch.randn(4, 3, 32, 32)
    report = prune(model, images, flops=0.5, measure_latency=False)
    assert report.flops_after / report.flops_before == pytest.approx(0.5, abs=0.01)
    assert model(images).shape == (4, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet-cifar", "resnet56", "resnet110", "foad-resnet56", "foad-resnet110"])
@pytest.mark.filterwarnings("ignore::foad_plugins.utils.warnings.InsufficientDataWarning")
def test_half_of_the_flops_of_the_large_ones_can_be_removed(name: str) -> None:
    test_half_of_the_flops_can_be_removed(name)


def test_padded_shortcuts_have_no_parameters_and_keep_what_passes() -> None:
    projected, padded = built("resnet20"), built("resnet20", shortcut="padding")
    assert count_params(projected) - count_params(padded) == 16 * 32 + 32 * 64 + 2 * (32 + 64)
    maps = torch.randn(2, 16, 8, 8)
    short = padded.stage2[0].shortcut(maps)
    assert short.shape == (2, 32, 4, 4)
    assert torch.equal(short[:, 8:24], maps[:, :, ::2, ::2])
    assert not short[:, :8].any()
    assert not short[:, 24:].any()


@pytest.mark.parametrize("wrong", [{"shortcut": "other"}, {"blocks": 0}])
def test_resnets_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CIFARResNet(**{"blocks": 3, **wrong})


@pytest.mark.parametrize("wrong", [{"stem": 0}, {"growth": -1}])
def test_densenets_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        built("densenet40", **wrong)


@pytest.mark.parametrize(
    ("name", "file"), [("vgg16-cifar", "vgg16_cifar10_jpeg"), ("foad-resnet56", "resnet56_cifar10")]
)
def test_the_weights_there_are_fit(name: str, file: str) -> None:
    weights = WeightsFile.read(Path(data_file(f"weights/{file}.safetensors")))
    model = built(name)
    weights.load_into(model)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert all(torch.equal(tensor, weights.tensors[key].to(tensor.dtype)) for key, tensor in model.state_dict().items())
