"""Random crops and flips of whole batches."""

from __future__ import annotations

import torch
from torch.nn import functional as F

__all__ = ["crop_and_flip"]

_PAD = 4


def crop_and_flip(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Each image cut out anew after 4 pixels of padding, and mirrored with probability one half (He et al. 2016).

    The padding is 0, so for normalised images the mean colour.

    Args:
        images: (N, C, H, W); left as they are.
        random: on the CPU; drawn from once for each of rows, columns and flips.

    Returns:
        A new tensor of the same shape.
    """
    count, channels, height, width = images.shape
    rows, columns = torch.randint(0, 2 * _PAD + 1, (2, count, 1), generator=random)
    flipped = torch.rand(count, 1, generator=random) < 0.5
    across = torch.arange(width)
    y = (rows + torch.arange(height)).to(images.device)
    x = (columns + torch.where(flipped, across.flip(0), across)).to(images.device)
    every, channel = torch.arange(count, device=images.device), torch.arange(channels, device=images.device)
    return F.pad(images, [_PAD] * 4)[
        every[:, None, None, None], channel[:, None, None], y[:, None, :, None], x[:, None, None]
    ]
