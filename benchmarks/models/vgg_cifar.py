"""VGG-16 with batch normalization for 32x32 images: 13 convolutions and one linear layer, 14.7 M parameters."""

from __future__ import annotations

from torch import Tensor, nn

from .register import register_model

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@register_model("vgg16-cifar")
class VGG16CIFAR(nn.Module):
    """VGG-16-BN as filter-pruning papers use it on CIFAR (Simonyan and Zisserman 2015; Li et al. 2017).

    Every convolution is 3x3 without bias and followed by BN and ReLU; each stage ends in a pooling that
    halves the map, the last one by averaging. Input (N, 3, 32, 32), output (N, num_classes).

    Args:
        num_classes: width of the output.

    Raises:
        ValueError: ``num_classes`` below 1.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        layers: list[nn.Module] = []
        width = 3
        for number, stage in enumerate(_STAGES, start=1):
            for channels in stage:
                layers += [
                    nn.Conv2d(width, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                ]
                width = channels
            layers.append(nn.AvgPool2d(2) if number == len(_STAGES) else nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 32, 32) to (N, num_classes)."""
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits
