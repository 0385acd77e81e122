"""CIFAR ResNets in the form of the FOAD authors' checkpoint, which differs from He et al. 2016 in three places."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from .register import register_model


class FOADResNet(nn.Module):
    """ResNet of depth 6n+2 as the authors of FOAD trained it (ResNet-56: ``FOADResNet(9)``, 0.8211 M parameters).

    Other than in the standard form, the shortcut ends in a ReLU, nothing follows the addition, and the
    first block of the second and third stage keeps the narrower width inside. Input (N, 3, 32, 32), output
    (N, num_classes).

    Args:
        blocks: n, the number of blocks a stage.
        num_classes: width of the output.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(self, blocks: int = 9, num_classes: int = 10) -> None:
        super().__init__()
        if blocks < 1 or num_classes < 1:
            raise ValueError(f"blocks and num_classes must be at least 1, got {blocks} and {num_classes}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["C1"] = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        width = 16
        for stage, channels in enumerate((16, 32, 64), start=1):
            for number in range(1, blocks + 1):
                stride = 2 if channels != width else 1
                layers[f"BasicBlock_{stage}_{number}"] = _BasicBlock(width, channels, stride)
                width = channels
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 32, 32) to (N, num_classes)."""
        logits: Tensor = self.fc(self.pool(self.features(images)).flatten(1))
        return logits


class _BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus a shortcut that ends in ReLU."""

    def __init__(self, width: int, channels: int, stride: int) -> None:
        super().__init__()
        self.baseNet = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        projection: list[nn.Module] = []
        if stride != 1 or width != channels:
            projection = [nn.Conv2d(width, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)]
        self.shortcut = nn.Sequential(*projection, nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        total: Tensor = self.baseNet(maps) + self.shortcut(maps)
        return total


@register_model("foad-resnet20")
def foad_resnet20(num_classes: int = 10) -> FOADResNet:
    """ResNet-20 in the form of the FOAD authors' checkpoint."""
    return FOADResNet(3, num_classes)


@register_model("foad-resnet56")
def foad_resnet56(num_classes: int = 10) -> FOADResNet:
    """ResNet-56 in the form of the FOAD authors' checkpoint."""
    return FOADResNet(9, num_classes)


@register_model("foad-resnet110")
def foad_resnet110(num_classes: int = 10) -> FOADResNet:
    """ResNet-110 in the form of the FOAD authors' checkpoint."""
    return FOADResNet(18, num_classes)
