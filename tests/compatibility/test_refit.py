"""Networks of torchvision with random weights: refitted outputs are nearer to the original's than compensated ones."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from foad_plugins import prune
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
