"""A residual classifier of small images, and what pruning its inner convolutions leaves of it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


class ResidualNet(nn.Module):
    """(N, 1, 8, 8) to (N, 10)."""

    def __init__(self, inner: int = 8, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
        self.blocks = nn.Sequential(Block(channels, inner), Block(channels, inner))
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(4 * channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(self.stem(x))).flatten(1))


def narrowed(network: ResidualNet, inner: int) -> ResidualNet:
    """A copy whose blocks keep their first ``inner`` inner channels."""
    small = copy.deepcopy(network)
    for block in small.blocks:
        block.conv1.weight = nn.Parameter(block.conv1.weight.detach()[:inner].clone())
        block.conv1.out_channels = block.norm1.num_features = block.conv2.in_channels = inner
        block.conv2.weight = nn.Parameter(block.conv2.weight.detach()[:, :inner].clone())
        for name in ("weight", "bias"):
            setattr(block.norm1, name, nn.Parameter(getattr(block.norm1, name).detach()[:inner].clone()))
        for name in ("running_mean", "running_var"):
            setattr(block.norm1, name, getattr(block.norm1, name)[:inner].clone())
    return small
