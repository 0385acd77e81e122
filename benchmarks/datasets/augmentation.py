"""Random crops and flips of whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

__all__ = ["CropFlip", "color_jitter", "crop_and_flip", "flip", "move"]

_PAD = 4
_CONTRAST = 0.2
_SHIFT = 0.2


@dataclass(frozen=True)
class CropFlip:
    """Where each image of a batch is cut out of its padded self, and whether it is mirrored.

    Attributes:
        rows: (N,), the first row, from 0 to 8.
        columns: (N,), the first column, likewise.
        flipped: (N,), bool.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    flipped: torch.Tensor

    @classmethod
    def draw(cls, count: int, random: torch.Generator) -> CropFlip:
        """CropFlip of ``count`` images, on the CPU as the generator is; rows first, then columns, then flips."""
        rows, columns = torch.randint(0, 2 * _PAD + 1, (2, count), generator=random)
        return cls(rows, columns, torch.rand(count, generator=random) < 0.5)

    @classmethod
    def join(cls, parts: Sequence[CropFlip]) -> CropFlip:
        """The moves of several batches as those of one."""
        return cls(
            torch.cat([part.rows for part in parts]),
            torch.cat([part.columns for part in parts]),
            torch.cat([part.flipped for part in parts]),
        )

    def slice(self, start: int, stop: int) -> CropFlip:
        """The moves of images ``start`` to ``stop``."""
        return CropFlip(self.rows[start:stop], self.columns[start:stop], self.flipped[start:stop])

    def to(self, device: torch.device) -> CropFlip:
        """The same on another device."""
        return CropFlip(self.rows.to(device), self.columns.to(device), self.flipped.to(device))


def crop_and_flip(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Each image cut out anew after 4 pixels of padding, and mirrored with probability one half (He et al. 2016).

    The padding is 0, so for normalized images the mean color.

    Args:
        images: (N, C, H, W); left as they are.
        random: on the CPU; drawn from once for each of rows, columns and flips.

    Returns:
        A new tensor of the same shape.
    """
    return move(images, CropFlip.draw(len(images), random).to(images.device))


def move(images: torch.Tensor, moves: CropFlip) -> torch.Tensor:
    """Cut every image (N, C, H, W) out of its padded self, all at once and on their device.

    Args:
        images: left as they are.
        moves: one for each image, on the same device.

    Returns:
        A new tensor of the same shape.
    """
    count, channels, height, width = images.shape
    device = images.device
    across = torch.arange(width, device=device)
    y = moves.rows[:, None] + torch.arange(height, device=device)
    x = moves.columns[:, None] + torch.where(moves.flipped[:, None], across.flip(0), across)
    every, channel = torch.arange(count, device=device), torch.arange(channels, device=device)
    return F.pad(images, [_PAD] * 4)[
        every[:, None, None, None], channel[:, None, None], y[:, None, :, None], x[:, None, None]
    ]


def flip(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Each image mirrored with probability one half.

    Args:
        images: (N, C, H, W); left as they are.
        random: on the CPU.

    Returns:
        A new tensor of the same shape.
    """
    chosen = (torch.rand(len(images), generator=random) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def color_jitter(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Each normalized image times 0.8 to 1.2, and each of its channels shifted by up to 0.2, all uniformly at random.

    Args:
        images: (N, C, H, W); left as they are.
        random: on the CPU; contrasts are drawn first.

    Returns:
        A new tensor of the same shape.
    """
    count, channels = images.shape[:2]
    contrast = 1 + _CONTRAST * (2 * torch.rand(count, 1, 1, 1, generator=random) - 1)
    shift = _SHIFT * (2 * torch.rand(count, channels, 1, 1, generator=random) - 1)
    return images * contrast.to(images.device, images.dtype) + shift.to(images.device, images.dtype)
