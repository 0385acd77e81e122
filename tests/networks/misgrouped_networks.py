"""Small networks in which Torch-Pruning 1.6.1 removes the wrong channels, or cannot remove the right ones."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class _Consumed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Conv2d(3, 8, 3, padding=1)
        self.read = nn.Conv2d(8, 5, 3)

    def forward(self, x):
        return self.read(self.between(self.make(x).relu())).mean((2, 3))

    def between(self, x):
        return x


class Rolled(_Consumed):
    def between(self, x):
        return x.roll(1, 1)


class Flipped(_Consumed):
    def between(self, x):
        return x.flip(1)


class Softmaxed(_Consumed):
    def between(self, x):
        return x.softmax(1)


class ScaledByMean(_Consumed):
    def between(self, x):
        return x * x.mean(1, keepdim=True)


class Shuffled(_Consumed):
    def between(self, x):
        images, channels, height, width = x.shape
        return x.view(images, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


class PixelShuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Conv2d(3, 8, 3, padding=1)
        self.read = nn.Conv2d(2, 5, 3)

    def forward(self, x):
        return self.read(functional.pixel_shuffle(self.make(x).relu(), 2)).mean((2, 3))


class FlattenedChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Conv2d(3, 8, 3, padding=1)
        self.read = nn.Linear(8 * 64, 3)

    def forward(self, x):
        return self.read(self.make(x).relu().permute(0, 2, 3, 1).flatten(1))


class _Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 6, 3, padding=1)
        self.right = nn.Conv2d(3, 6, 3, padding=1)
        self.read = nn.Linear(12 * 64, 3)


class FlattenedThenConcatenated(_Branches):
    def forward(self, x):
        return self.read(torch.cat([self.left(x).relu().flatten(1), self.right(x).relu().flatten(1)], 1))


class ConcatenatedThenFlattened(_Branches):
    def forward(self, x):
        return self.read(torch.cat([self.left(x).relu(), self.right(x).relu()], 1).flatten(1))


class _Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Conv2d(4, 5, 3)
        self.right = nn.Conv2d(4, 5, 3)
        self.read = nn.Linear(5, 3)

    def forward(self, x):
        left, right = self.halves(self.make(x).relu())
        return self.read((self.left(left) + self.right(right)).mean((2, 3)))


class Chunked(_Halves):
    def halves(self, x):
        return x.chunk(2, 1)


class Sliced(_Halves):
    def halves(self, x):
        return x[:, :4], x[:, 4:]


class ChunkedAndConcatenated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Conv2d(3, 8, 1)
        self.inner = nn.Conv2d(4, 4, 3, padding=1)
        self.read = nn.Conv2d(12, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        parts = list(self.make(x).relu().chunk(2, 1))
        parts.append(self.inner(parts[-1]).relu())
        return self.head(self.read(torch.cat(parts, 1)).mean((2, 3)))


SILENTLY_WRONG = [Rolled, Flipped, Softmaxed, ScaledByMean, Shuffled, FlattenedChannelsLast, FlattenedThenConcatenated]
"""Removal works, and what is left is another network."""

FAILING = [PixelShuffled, ConcatenatedThenFlattened, Chunked, ChunkedAndConcatenated]
"""The network does not run any more."""
