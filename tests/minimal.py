"""The README's first snippet with the core's dependencies alone: run it where only the wheel is installed."""

from __future__ import annotations

import sys

import torch
from torch import nn

from foad_plugins import load_pruned, prune, save_pruned


def network() -> nn.Module:
    """A small stand-in for a user's network."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    ).eval()


def main() -> None:
    """Prune, save, load, and check that no extra was imported."""
    model, images = network(), torch.rand(64, 3, 32, 32)
    print(prune(model, images, flops=0.5))
    save_pruned(model, "small.safetensors")
    again = load_pruned(network, "small.safetensors").eval()
    assert torch.equal(again(images), model(images))
    heavy = {"torchvision", "nni", "sklearn", "matplotlib", "jinja2", "numba", "foad_plugins.benchmarks"} & set(
        sys.modules
    )
    assert not heavy, heavy


if __name__ == "__main__":
    main()
