"""From a model's name and settings to a network with seeded weights."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import SettingsError
from ..registry import FactoryRegistry, Spec

__all__ = ["MODELS", "build_model", "classifier_of", "register_model"]

MODELS: FactoryRegistry[nn.Module] = FactoryRegistry("model")

register_model = MODELS.register
"""Decorator ``@register_model("name")`` for a factory ``(**settings) -> nn.Module``.

The network needs an attribute ``classifier``: the last layer, whose outputs pruning leaves alone.
"""


def build_model(spec: Spec, *, seed: int) -> nn.Module:
    """The network with weights drawn from ``seed``; torch's global random state is left as it was.

    Raises:
        UnknownNameError: if no model has that name.
        SettingsError: if the settings do not fit it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return MODELS.make(spec)


def classifier_of(model: nn.Module) -> nn.Module:
    """The layer whose outputs are the classes and must stay.

    Raises:
        SettingsError: if the model has no attribute ``classifier`` that is a layer.
    """
    classifier = getattr(model, "classifier", None)
    if not isinstance(classifier, nn.Module):
        raise SettingsError(f"{type(model).__name__} has no layer 'classifier' for pruning to leave alone")
    return classifier
