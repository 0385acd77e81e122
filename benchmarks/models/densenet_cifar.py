"""DenseNet-40 for 32x32 images, without bottlenecks and without compression (Huang et al. 2017)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .register import register_model

_LAYERS = 12
"""Layers of each of the three blocks: 3 * 12, the stem, two transitions and the classifier make 40."""


@register_model("densenet40")
class DenseNet40(nn.Module):
    """DenseNet-40 for 32x32 images, growth rate 12, as pruning papers use it.

    Three blocks of twelve BN-ReLU-conv layers; every layer reads all maps of its block before it. Between the blocks a
    1x1 convolution that keeps the number of channels, and average pooling (Huang et al. 2017, section 3). Input
    (N, 3, 32, 32), output (N, num_classes).

    Args:
        num_classes: width of the output.
        growth: channels that every layer adds.
        stem: channels of the first convolution. Pruning papers start with 24 (HRank's table: 1.04 M parameters,
            282.00 M FLOPs); the paper's own networks without bottlenecks start with 16.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(self, num_classes: int = 10, growth: int = 12, stem: int = 24) -> None:
        super().__init__()
        if min(num_classes, growth, stem) < 1:
            raise ValueError(f"num_classes, growth and stem: at least 1, got {num_classes}, {growth} and {stem}")
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Conv2d(3, stem, 3, padding=1, bias=False))
        width = stem
        for block in range(3):
            if block:
                layers[f"transition{block}"] = _transition(width)
            for number in range(_LAYERS):
                layers[f"dense{block + 1}_{number + 1}"] = _DenseLayer(width, growth)
                width += growth
        layers["bn"] = nn.BatchNorm2d(width)
        layers["relu"] = nn.ReLU(inplace=True)
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 32, 32) to (N, num_classes)."""
        logits: Tensor = self.fc(self.pool(self.features(images)).flatten(1))
        return logits


class _DenseLayer(nn.Module):
    """BN-ReLU-conv, concatenated to its input."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(width, growth, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.conv(self.relu(self.bn(maps)))], dim=1)


def _transition(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 1, bias=False), nn.AvgPool2d(2)
    )
