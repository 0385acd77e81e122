"""From a model's name and settings to a network with seeded weights."""

from __future__ import annotations

import torch
from torch import nn

from ..registry.registry import Registry, Spec

MODELS: Registry[nn.Module] = Registry("model", product=nn.Module)

register_model = MODELS.register
"""Decorator ``@register_model("name")`` for a factory ``(**settings) -> nn.Module``."""


def build_model(spec: Spec, *, seed: int) -> nn.Module:
    """The network with random weights from ``seed``; torch's global random state is unchanged.

    Raises:
        UnknownNameError: if no model has that name.
        SettingsError: if the settings do not fit it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return MODELS.make(spec)
