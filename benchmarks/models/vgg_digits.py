"""A VGG for pictures of 8x8 pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .register import register_model


@register_model("digits-vgg")
class DigitsVGG(nn.Module):
    """Six 3x3 convolutions with BN and ReLU for one-channel 8x8 images, and one Linear layer.

    Two convolutions each at 8x8, 4x4 and 2x2 pixels with max-pooling between the sizes, in the manner of
    Simonyan and Zisserman (2015); the last maps are flattened into the classifier.

    Args:
        widths: output channels of the two convolutions at each of the three sizes.
        classes: number of classes, at least 2.

    Raises:
        ValueError: if there are not three widths, or a number is too small.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128), classes: int = 10) -> None:
        super().__init__()
        if len(widths) != 3 or min(widths) < 1:
            raise ValueError(f"widths: three numbers of channels, each at least 1, got {widths!r}")
        if classes < 2:
            raise ValueError(f"classes: at least 2, got {classes!r}")
        layers: list[nn.Module] = []
        channels = 1
        for stage, width in enumerate(widths):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
                channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels * 2 * 2, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, 8, 8) to logits (N, classes)."""
        return self.classifier(self.features(images).flatten(1))
