"""From ``--model`` to a network: one of torchvision, or one that a user-defined factory makes."""

from __future__ import annotations

import inspect
import os
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ...utils.text import did_you_mean
from ...utils.user_code import UserCodeError, describe_error, find_callable
from .errors import CommandError, UsageError

__all__ = ["build_model", "image_channels", "torchvision_models", "torchvision_name"]

_PREFIX = "torchvision:"


def torchvision_name(spec: str) -> str | None:
    """The name of a model of torchvision; None for ``MODULE:FACTORY`` and ``FILE.py:FACTORY``.

    Raises:
        UsageError: torchvision has no such model, or ``spec`` has neither form.
    """
    known = torchvision_models().list_models()
    if spec.startswith(_PREFIX):
        name = spec.removeprefix(_PREFIX)
        if name not in known:
            raise UsageError(f"torchvision has no model {name!r}{did_you_mean(name, known)}")
        return name
    module, colon, factory = spec.rpartition(":")
    if not (module and colon and factory):
        near = f"; did you mean {_PREFIX + spec!r}?" if spec in known else ""
        raise UsageError(f"--model must be torchvision:NAME, MODULE:FACTORY or FILE.py:FACTORY, got {spec!r}{near}")
    if not module.endswith(".py") and ("/" in module or os.sep in module):
        raise UsageError(f"--model {spec!r}: write package.module:{factory}, or path/to/file.py:{factory}")
    return None


def build_model(spec: str, weights: Any = None, num_classes: int | None = None, *, progress: bool = False) -> nn.Module:
    """The network, with weights of seed 0, of a torchvision enum, or of a factory.

    Args:
        spec: ``torchvision:NAME``; ``MODULE:FACTORY`` for a module that is installed or in the current folder; or
            ``FILE.py:FACTORY``. ``FACTORY`` is called without arguments, or is a network itself.
        weights: a member of the model's weights enum, which torchvision downloads, or None.
        num_classes: outputs of a torchvision model; None for its own number.
        progress: show a bar while downloading.

    Raises:
        UsageError: no such model, or ``num_classes`` for a model that does not take it.
        CommandError: a module that cannot be imported, a factory that is missing, fails or makes no network, or
            weights that cannot be downloaded.
    """
    name = torchvision_name(spec)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if name is not None:
            return _from_torchvision(name, weights, num_classes, progress)
        if num_classes is not None:
            raise UsageError("--num-classes is for torchvision's models; your factory sets the number itself")
        return _from_user(spec)


def image_channels(model: nn.Module) -> int | None:
    """Channels of the images that a network's first convolution takes; None if these are no images."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels if module.in_channels <= 4 else None
    return None


def torchvision_models() -> ModuleType:
    """``torchvision.models``.

    Raises:
        CommandError: torchvision cannot be imported, for example because it was built for another torch.
    """
    try:
        return import_module("torchvision.models")
    except Exception as error:
        raise CommandError(f"torchvision cannot be imported with torch {torch.__version__}: {error}") from error


def _from_torchvision(name: str, weights: Any, num_classes: int | None, progress: bool) -> nn.Module:
    models = torchvision_models()
    settings: dict[str, Any] = {"weights": weights, "progress": progress}
    if num_classes is not None:
        settings["num_classes"] = num_classes
    # Detectors download weights of their backbone by default, even if weights is None.
    if weights is None and "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        settings["weights_backbone"] = None
    try:
        model: nn.Module = models.get_model(name, **settings)
    except OSError as error:
        raise CommandError(f"the weights of {name} cannot be downloaded: {error}") from error
    except ValueError as error:
        if num_classes is None or weights is None:
            raise
        message = f"--num-classes {num_classes} does not fit torchvision's own weights: {error}"
        raise UsageError(message) from error
    return model


def _from_user(spec: str) -> nn.Module:
    try:
        found = find_callable(spec)
    except UserCodeError as error:
        raise CommandError(f"--model {spec}: {error}") from error
    if isinstance(found, nn.Module):
        return found
    try:
        made = found()
    except (Exception, SystemExit) as error:
        raise CommandError(f"{spec} fails when called without arguments: {describe_error(error)}") from error
    if not isinstance(made, nn.Module):
        raise CommandError(f"{spec} must return a torch.nn.Module, it returned an object of type {type(made).__name__}")
    return made
