"""Pruning in tests, and what is left."""

from __future__ import annotations

import torch
from torch import nn

from foad_plugins import count_flops, count_params, prune
from tests.helpers.seeds import generator

IMAGES = torch.rand(40, 3, 8, 8, generator=generator())

PLAIN = {"ranking": "local", "compensate": "least_squares"}
"""Quicker than the defaults, for tests of what does not depend on them."""


def run(model, data=IMAGES, **options):
    return prune(model, data, **{"measure_latency": False, **options})


def shares(model, original, image=IMAGES[:1]):
    """What is really left of FLOPs and parameters."""
    return (
        count_flops(model, image) / count_flops(original, image),
        count_params(model) / count_params(original),
    )


def widths(model):
    return {name: layer.out_channels for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
