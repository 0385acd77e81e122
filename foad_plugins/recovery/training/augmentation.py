"""Random crops, flips and colors of whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["CropFlip", "color_jitter", "crop_and_flip", "flip"]


@dataclass(frozen=True)
class CropFlip:
    """Where each image of a batch is cut out of its padded self, and whether it is mirrored.

    Attributes:
        rows: (N,), the first row, from 0 to twice the padding.
        columns: (N,), the first column, in the same range.
        flipped: (N,), bool.
        padding: pixels of 0 that are added on every side.
    """

    rows: Tensor
    columns: Tensor
    flipped: Tensor
    padding: int = 4

    @classmethod
    def draw(cls, count: int, random: torch.Generator, padding: int = 4, *, flips: bool = True) -> CropFlip:
        """Draw rows, then columns, then flips of ``count`` images, on the CPU as the generator is."""
        rows, columns = torch.randint(0, 2 * padding + 1, (2, count), generator=random)
        return cls(rows, columns, (torch.rand(count, generator=random) < 0.5) & flips, padding)

    @classmethod
    def join(cls, parts: Sequence[CropFlip]) -> CropFlip:
        """Those of several batches with one padding, in one."""
        return cls(
            torch.cat([part.rows for part in parts]),
            torch.cat([part.columns for part in parts]),
            torch.cat([part.flipped for part in parts]),
            parts[0].padding,
        )

    def slice(self, start: int, stop: int) -> CropFlip:
        """Those of images ``start`` to ``stop``."""
        return CropFlip(self.rows[start:stop], self.columns[start:stop], self.flipped[start:stop], self.padding)

    def to(self, device: torch.device) -> CropFlip:
        """The same on another device."""
        return CropFlip(self.rows.to(device), self.columns.to(device), self.flipped.to(device), self.padding)

    def apply(self, images: Tensor) -> Tensor:
        """Cut every image (N, C, H, W), on the same device, out of its padded self; a new tensor of the same shape."""
        count, channels, height, width = images.shape
        device = images.device
        across = torch.arange(width, device=device)
        y = self.rows[:, None] + torch.arange(height, device=device)
        x = self.columns[:, None] + torch.where(self.flipped[:, None], across.flip(0), across)
        image, channel = torch.arange(count, device=device), torch.arange(channels, device=device)
        return F.pad(images, [self.padding] * 4)[
            image[:, None, None, None], channel[:, None, None], y[:, None, :, None], x[:, None, None]
        ]


def crop_and_flip(images: Tensor, random: torch.Generator, padding: int = 4, *, flips: bool = True) -> Tensor:
    """Each image cut out at a random place after padding, and mirrored with probability one half (He et al. 2016).

    The padding is 0, which is the mean color of normalized images.

    Args:
        images: (N, C, H, W); not changed.
        random: on the CPU; drawn from once for each of rows, columns and flips.
        padding: pixels on every side.
        flips: False mirrors none.

    Returns:
        A new tensor of the same shape.
    """
    return CropFlip.draw(len(images), random, padding, flips=flips).to(images.device).apply(images)


def flip(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image (N, C, H, W) mirrored with probability one half; ``random`` is on the CPU. A new tensor."""
    chosen = (torch.rand(len(images), generator=random) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def color_jitter(images: Tensor, random: torch.Generator, strength: float = 0.2) -> Tensor:
    """Each image times a random factor, and each of its channels shifted by a random value, both uniform.

    Args:
        images: (N, C, H, W), normalized; not changed.
        random: on the CPU; the factors are drawn first.
        strength: factors lie in ``1 ± strength`` and shifts in ``± strength``.

    Returns:
        A new tensor of the same shape.
    """
    count, channels = images.shape[:2]
    factor = 1 + strength * (2 * torch.rand(count, 1, 1, 1, generator=random) - 1)
    shift = strength * (2 * torch.rand(count, channels, 1, 1, generator=random) - 1)
    return images * factor.to(images.device, images.dtype) + shift.to(images.device, images.dtype)
