"""Networks of torchvision with random weights: refitted outputs are nearer to the original's than compensated ones."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import count_flops, prune, refit
from foad_plugins.benchmarks.models.foad_resnet import FOADResNet
from tests.conftest import MEAN, STD, data_file
from tests.helpers.seeds import generator

torchvision = pytest.importorskip("torchvision")

SIZE = 64


def images(count, seed):
    """Smooth random images, whose patches are as correlated as those of photographs."""
    coarse = torch.randn(count, 3, 8, 8, generator=generator(seed))
    return nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic")


def vit():
    return torchvision.models.VisionTransformer(
        image_size=SIZE, patch_size=16, num_layers=2, num_heads=3, hidden_dim=96, mlp_dim=384, num_classes=20
    )


class Features(nn.Module):
    """The maps that the backbone of a detector gives."""

    def __init__(self):
        super().__init__()
        make = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn
        self.backbone = make(weights=None, weights_backbone=None).backbone

    def forward(self, x):
        return tuple(self.backbone(x).values())


NETWORKS = {
    "resnet18": lambda: torchvision.models.resnet18(),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(),
    "densenet121": lambda: torchvision.models.densenet121(),
    "convnext_tiny": lambda: torchvision.models.convnext_tiny(),
    "vit_b_16": vit,
    "deeplabv3": lambda: torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, aux_loss=False
    ),
    "fasterrcnn": Features,
}


# Torchvision's transformer reshapes its tokens to the width that it was made with.
OPTIONS = {"vit_b_16": {"ignored_layers": ["conv_proj"]}}


def output(model, x):
    with torch.no_grad():
        result = model.eval()(x)
    if isinstance(result, tuple):
        return torch.cat([maps.flatten(1) for maps in result], 1)
    return result["out"] if isinstance(result, dict) else result


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_refit_is_nearer_to_the_original_than_least_squares(name):
    torch.manual_seed(0)
    original = NETWORKS[name]()
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if hasattr(module, "layer_scale"):
            nn.init.uniform_(module.layer_scale, 0.2, 0.6)
    x, y = images(32, 0), images(32, 1)
    with torch.no_grad():
        original.train()(x)
    for parameter in getattr(original, "heads", nn.Identity()).parameters():
        # Torchvision begins with a head of zeros.
        nn.init.normal_(parameter, std=0.1)
    expected = output(original, y)
    errors = {}
    for method in ("least_squares", "refit"):
        model = copy.deepcopy(original)
        prune(model, x, params=0.7, compensate=method, measure_latency=False, **OPTIONS.get(name, {}))
        errors[method] = float((output(model, y) - expected).square().mean() / expected.var(0).mean())
    assert errors["refit"] < errors["least_squares"], errors


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_resnet56_at_half_of_the_flops_keeps_its_accuracy_whoever_pruned_it(cifar, resnet56_weights):
    """Torch-Pruning's L1 removes half of every block's inner channels; the test images are those of the data file."""
    original = FOADResNet(9)
    original.load_state_dict(resnet56_weights)
    with np.load(data_file("data/cifar10_lossless.npz")) as arrays:
        pixels, labels = torch.from_numpy(arrays["test_images"]), torch.from_numpy(arrays["test_labels"])
    x = (pixels.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
    pruned = copy.deepcopy(original)
    fixed = [
        module
        for name, module in pruned.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not name.endswith("baseNet.0")
    ]
    importance = tp.importance.MagnitudeImportance(p=1)
    tp.pruner.MetaPruner(pruned, x[:1], importance, pruning_ratio=0.5, ignored_layers=fixed).step()
    assert count_flops(pruned, x[:1]) < 0.51 * count_flops(original, x[:1])
    report = refit(pruned, original, cifar)
    accuracy = float((output(pruned, x).argmax(1) == labels).float().mean())
    assert accuracy > 0.87
    assert sum(layer.at_sum for layer in report.layers) == 27
