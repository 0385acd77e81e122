"""ResNets for 32x32 images in the standard form (He et al. 2016, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from .register import register_model

Shortcut: TypeAlias = Literal["projection", "padding"]


class CIFARResNet(nn.Module):
    """ResNet of depth 6n+2 for CIFAR (He et al. 2016): three stages of n blocks with 16, 32 and 64 channels.

    Where a stage begins, the shortcut has to halve the map and to double the channels. The paper's CIFAR networks do
    so without parameters (option A: every other pixel, new channels zero). Channels that are zero by construction
    cannot be coupled to those they are added to, so pruning benchmarks on a dependency graph use a 1x1 convolution with
    BN instead (option B; Fang et al. 2023, DepGraph). That is the default here; it adds 2,752 parameters at any depth.
    Input (N, 3, 32, 32), output (N, num_classes).

    Args:
        blocks: n, the number of blocks a stage.
        num_classes: width of the output.
        shortcut: ``"projection"`` (option B) or ``"padding"`` (option A).

    Raises:
        ValueError: a number below 1, or another shortcut.
    """

    def __init__(self, blocks: int, num_classes: int = 10, shortcut: Shortcut = "projection") -> None:
        super().__init__()
        if blocks < 1 or num_classes < 1:
            raise ValueError(f"blocks and num_classes must be at least 1, got {blocks} and {num_classes}")
        if shortcut not in get_args(Shortcut):
            raise ValueError(f"shortcut must be one of {', '.join(get_args(Shortcut))}, got {shortcut!r}")
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.stage1 = _stage(16, 16, blocks, shortcut)
        self.stage2 = _stage(16, 32, blocks, shortcut)
        self.stage3 = _stage(32, 64, blocks, shortcut)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 32, 32) to (N, num_classes)."""
        maps = self.relu(self.bn1(self.conv1(images)))
        maps = self.stage3(self.stage2(self.stage1(maps)))
        logits: Tensor = self.fc(self.pool(maps).flatten(1))
        return logits


class _Block(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the shortcut, then ReLU."""

    def __init__(self, width: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU(inplace=True)
        self.shortcut: nn.Module
        if width == channels:
            self.shortcut = nn.Identity()
        elif shortcut == "padding":
            self.shortcut = _Padding(channels - width, stride)
        else:
            projection = nn.Conv2d(width, channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(maps)))))
        total: Tensor = self.relu2(inner + self.shortcut(maps))
        return total


class _Padding(nn.Module):
    """Every ``stride``-th pixel, with channels of zeros before and after."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.before, self.after, self.stride = extra // 2, extra - extra // 2, stride

    def forward(self, maps: Tensor) -> Tensor:
        return F.pad(maps[:, :, :: self.stride, :: self.stride], [0, 0, 0, 0, self.before, self.after])


def _stage(width: int, channels: int, blocks: int, shortcut: Shortcut) -> nn.Sequential:
    first = _Block(width, channels, 1 if width == channels else 2, shortcut)
    return nn.Sequential(first, *(_Block(channels, channels, 1, shortcut) for _ in range(blocks - 1)))


def _register(depth: int) -> Callable[..., CIFARResNet]:
    def build(num_classes: int = 10, shortcut: Shortcut = "projection") -> CIFARResNet:
        return CIFARResNet((depth - 2) // 6, num_classes, shortcut)

    build.__doc__ = f"ResNet-{depth} for 32x32 images, in the standard form."
    return register_model(f"resnet{depth}")(build)


resnet20, resnet56, resnet110 = map(_register, (20, 56, 110))
