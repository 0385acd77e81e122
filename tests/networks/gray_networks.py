"""Small classifiers of gray images of 8x8 pixels."""

from __future__ import annotations

import torch
from torch import nn


class GrayChain(nn.Module):
    """Two convolutions with BN, in-place ReLU and pooling, then a classifier that reads flattened maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 5, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(5)
        self.relu = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(5 * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        return self.classifier(self.relu(self.bn2(self.conv2(x))).flatten(1))


class GrayResidual(nn.Module):
    """A stem and a block whose sum, taken in place, couples two producers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        out = self.bn(self.conv(x))
        out += x
        return self.classifier(torch.relu(out).mean((2, 3)))


class GrayDepthwise(nn.Module):
    """A depthwise convolution, which cannot be scored by itself, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.pointwise = nn.Conv2d(6, 5, 1)
        self.classifier = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv(x)))
        x = torch.relu(self.bn2(self.depthwise(x)))
        return self.classifier(torch.relu(self.pointwise(x)).mean((2, 3)))
