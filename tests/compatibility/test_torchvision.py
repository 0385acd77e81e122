"""Real architectures, pruned with forward and backward passes after, saved and loaded again."""

from __future__ import annotations

import io
import warnings

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance, count_params, prune
from tests.helpers.seeds import SEED

torchvision = pytest.importorskip("torchvision")

# Model and image size. The sizes are the least at which every feature map keeps a position.
MODELS = {
    "resnet18": 64,
    "resnet50": 64,
    "vgg16_bn": 32,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "densenet121": 64,
    "googlenet": 64,
    "resnext50_32x4d": 64,
    "efficientnet_b0": 64,
    "regnet_y_400mf": 64,
    "convnext_tiny": 64,
    "vit_b_16": 32,
    "alexnet": 96,
}


def build(name, size):
    torch.manual_seed(SEED)
    # The auxiliary heads run in train mode only, where Torch-Pruning does not look.
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    options |= {"image_size": size} if name.startswith("vit") else {}
    model = torchvision.models.get_model(name, num_classes=10, **options)
    return model.eval(), torch.rand(4, 3, size, size)


def heads(model):
    """The layers that give the ten classes."""
    return [
        layer for layer in model.modules() if getattr(layer, "out_features", getattr(layer, "out_channels", 0)) == 10
    ]


def prune_at(model, images, importance, ratio=0.3):
    attention = {layer: layer.num_heads for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch_pruning")
        pruner = tp.pruner.MetaPruner(
            model,
            (images[:1],),
            importance=importance,
            pruning_ratio=ratio,
            ignored_layers=heads(model),
            in_channel_groups={},
            out_channel_groups=attention,
            num_heads={},
        )
    pruner.step()
    if isinstance(model, torchvision.models.VisionTransformer):
        # torchvision reshapes to a width that it keeps beside the layers.
        model.hidden_dim = model.conv_proj.out_channels


@pytest.mark.parametrize("name", MODELS)
def test_at_ratio_three_tenths(name):
    model, images = build(name, MODELS[name])
    before = count_params(model)
    prune_at(model, images, FOADImportance(images))
    assert count_params(model) < 0.9 * before
    model.train()
    model(images).sum().backward()
    assert all(parameter.grad is None or parameter.grad.shape == parameter.shape for parameter in model.parameters())
    model.eval()
    with torch.no_grad():
        expected = model(images)
    assert expected.shape == (4, 10)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    with torch.no_grad():
        assert torch.equal(again(images), expected)


@pytest.mark.parametrize("name", MODELS)
def test_by_the_published_rule(name):
    model, images = build(name, MODELS[name])
    # The patch embedding sets the width of the stream, which torchvision's reshape has written down.
    report = prune(model, images, ignored_layers=["conv_proj"] if name.startswith("vit") else ())
    assert 0 < report.params_after < report.params_before
    assert report.params_after == count_params(model)
    with torch.no_grad():
        assert model(images).shape == (4, 10)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", pytest.param("maxvit_t", marks=pytest.mark.slow)])
def test_what_torch_pruning_cannot_prune_with_its_own_importance_either(name):
    size = 224 if name == "maxvit_t" else 64

    def attempt(importance):
        model, images = build(name, size)
        prune_at(model, images, importance(images))
        model(images)

    for importance in (lambda images: tp.importance.MagnitudeImportance(p=1), FOADImportance):
        with pytest.raises((RuntimeError, ValueError, IndexError, ArithmeticError, AttributeError, AssertionError)):
            attempt(importance)
