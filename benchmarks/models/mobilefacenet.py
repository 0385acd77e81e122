"""MobileFaceNet (Chen et al. 2018): face embeddings from depthwise bottlenecks with PReLU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .register import register_model

# Expansion factor, channels, repetitions, stride of the first repetition: table 1 of the paper.
_BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class MobileFaceNet(nn.Module):
    """MobileFaceNet for aligned faces (Chen et al. 2018, arXiv:1804.07573).

    Args:
        image_size: height and width of the input, (112, 96) or (112, 112); multiples of 16.
        embedding: width of the output.

    Raises:
        ValueError: a height or width that is not a positive multiple of 16.
    """

    def __init__(self, image_size: tuple[int, int] = (112, 96), embedding: int = 128) -> None:
        super().__init__()
        if any(side < 16 or side % 16 for side in image_size):
            raise ValueError(f"image_size must be positive multiples of 16, got {image_size}")
        self.conv1 = _ConvBlock(3, 64, 3, stride=2, padding=1)
        self.dw_conv1 = _ConvBlock(64, 64, 3, padding=1, groups=64)
        blocks: list[nn.Module] = []
        width = 64
        for expansion, channels, repetitions, first_stride in _BOTTLENECKS:
            for number in range(repetitions):
                stride = first_stride if number == 0 else 1
                blocks.append(_Bottleneck(width, channels, stride, expansion))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = _ConvBlock(width, 512, 1)
        window = (image_size[0] // 16, image_size[1] // 16)
        self.linear7 = _ConvBlock(512, 512, window, groups=512, activation=False)
        self.linear1 = _ConvBlock(512, embedding, 1, activation=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), scaled as (pixel - 127.5) / 128, to embeddings (N, embedding), not normalized."""
        maps = self.conv2(self.blocks(self.dw_conv1(self.conv1(images))))
        embedded: Tensor = self.linear1(self.linear7(maps)).flatten(1)
        return embedded


@register_model("mobilefacenet")
def mobilefacenet(image_size: Sequence[int] = (112, 96), embedding: int = 128) -> MobileFaceNet:
    """MobileFaceNet for faces of 112 x 96 or, by its setting, 112 x 112: 128 numbers a face."""
    if len(image_size) != 2:
        raise ValueError(f"image_size: height and width, got {list(image_size)}")
    return MobileFaceNet((image_size[0], image_size[1]), embedding)


class _ConvBlock(nn.Module):
    """Convolution without bias, BN and, unless linear, PReLU."""

    def __init__(
        self,
        width: int,
        channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, channels, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels) if activation else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        activated: Tensor = self.prelu(self.bn(self.conv(maps)))
        return activated


class _Bottleneck(nn.Module):
    """Pointwise expansion, depthwise 3x3, linear pointwise projection; a residual where shapes allow."""

    def __init__(self, width: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self.residual = stride == 1 and width == channels
        self.conv = nn.Sequential(
            nn.Conv2d(width, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.PReLU(inner),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.PReLU(inner),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        projected: Tensor = self.conv(maps)
        return maps + projected if self.residual else projected
