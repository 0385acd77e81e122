"""GoogLeNet for 32x32 images, in the form that pruning papers use."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .register import register_model

# 1x1; reduction and 3x3; reduction and "5x5"; projection after pooling: table 1 of Szegedy et al. 2015.
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


@register_model("googlenet-cifar")
class GoogLeNetCIFAR(nn.Module):
    """GoogLeNet for 32x32 images, 6.15 M parameters, as in HRank (Lin et al. 2020) and papers after it.

    The nine inception modules of Szegedy et al. 2015 after a single 3x3 convolution, without auxiliary classifiers;
    two 3x3 convolutions in place of each 5x5, BN after every convolution. Input (N, 3, 32, 32), output
    (N, num_classes).

    Args:
        num_classes: width of the output.

    Raises:
        ValueError: ``num_classes`` below 1.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=_conv(3, 192, 3))
        width = 192
        for name, widths in _INCEPTIONS.items():
            if name in ("4a", "5a"):
                layers[f"pool{name[0]}"] = nn.MaxPool2d(3, stride=2, padding=1)
            layers[f"inception{name}"] = _Inception(width, *widths)
            width = widths[0] + widths[2] + widths[4] + widths[5]
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 32, 32) to (N, num_classes)."""
        logits: Tensor = self.fc(self.pool(self.features(images)).flatten(1))
        return logits


class _Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, width: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int) -> None:
        super().__init__()
        self.branch1 = _conv(width, one, 1)
        self.branch3 = nn.Sequential(_conv(width, reduce3, 1), _conv(reduce3, three, 3))
        self.branch5 = nn.Sequential(_conv(width, reduce5, 1), _conv(reduce5, five, 3), _conv(five, five, 3))
        self.branch_pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _conv(width, pooled, 1))

    def forward(self, maps: Tensor) -> Tensor:
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return torch.cat([branch(maps) for branch in branches], dim=1)


def _conv(width: int, channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )
