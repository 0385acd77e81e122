"""Channels keep track through padding with zeros and through concatenations after a class token."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from foad_plugins import prune
from tests.helpers.seeds import generator

IMAGES = torch.rand(32, 3, 8, 8, generator=generator())


class Block(nn.Module):
    """A residual block whose shortcut pads channels with zeros, as option A of He et al. (CVPR 2016)."""

    def __init__(self, before, after):
        super().__init__()
        self.grow = after - before
        self.conv1 = nn.Conv2d(before, after, 3, 2 if self.grow else 1, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)

    def forward(self, x):
        half = self.grow // 2
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.grow - half)) if self.grow else x
        return (self.norm2(self.conv2(self.norm1(self.conv1(x)).relu())) + shortcut).relu()


def padded():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        Block(8, 8),
        Block(8, 14),
        Block(14, 20),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(20, 5),
    ).eval()


@pytest.mark.parametrize("flops", [0.7, 0.4])
def test_shortcuts_that_pad_channels_with_zeros(flops):
    model = padded()
    report = prune(model, IMAGES, flops=flops, measure_latency=False, ranking="local", compensate="least_squares")
    removed = 8 - model[0].out_channels
    assert removed > 0
    assert (model[3].conv2.out_channels, model[4].conv2.out_channels) == (14 - removed, 20 - removed)
    assert all(group.verification == "verified" for group in report.groups if group.selection.removed)
    assert set(report.kept_layers) == {"7"}
    assert report.flops_after / report.flops_before == pytest.approx(flops, abs=0.03)


class Pooled(nn.Module):
    """A transformer's classifier on the class token beside the mean of the others, as in DINOv2."""

    def __init__(self):
        super().__init__()
        self.embed, self.token = nn.Conv2d(3, 12, 4, 4), nn.Parameter(torch.randn(1, 1, 12))
        self.up, self.down, self.head = nn.Linear(12, 24), nn.Linear(24, 12), nn.Linear(24, 5)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        tokens = tokens + self.down(self.up(tokens).relu())
        return self.head(torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1))


def test_features_that_are_concatenated_after_a_class_token_was():
    model = Pooled().eval()
    report = prune(model, IMAGES, pruning_ratio=0.5, measure_latency=False)
    assert (model.embed.out_channels, model.token.shape[2], model.head.in_features) == (6, 6, 12)
    assert model.up.out_features == 12
    assert all(group.verification == "verified" for group in report.groups)


class Shuffle(nn.Module):
    """Channels that are shuffled between the groups, as in ShuffleNet: no place that can be followed."""

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 6, 1)
        self.last, self.head = nn.Conv2d(6, 4, 1), nn.Linear(8, 5)

    def forward(self, x):
        left, right = self.stem(x).chunk(2, 1)
        both = torch.cat([self.left(left), self.last(self.right(right).relu())], 1)
        shuffled = both.view(len(x), 2, 4, 8, 8).transpose(1, 2).reshape(len(x), 8, 8, 8)
        return self.head(shuffled.mean((2, 3)))


def test_shuffled_channels_are_kept_and_the_others_pruned():
    model = Shuffle().eval()
    report = prune(model, IMAGES, pruning_ratio=0.5, measure_latency=False)
    assert (model.right.out_channels, model.left.out_channels, model.last.out_channels) == (3, 4, 4)
    assert {"left", "last", "head"} <= set(report.kept_layers)
    assert model(IMAGES).shape == (32, 5)
