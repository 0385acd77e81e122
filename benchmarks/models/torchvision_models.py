"""Any classifier that torchvision has, by its name there: ``torchvision:resnet18``."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from ..errors import SettingsError
from ..registry.registry import UnknownNameError
from .register import MODELS

__all__ = ["torchvision_factory"]

_AUXILIARY = ("googlenet", "inception_v3")
"""Have classifiers on the side that change what ``forward`` returns in training mode."""


@MODELS.scheme("torchvision")
def torchvision_factory(name: str) -> Callable[..., nn.Module]:
    """The factory of torchvision's classifier of that name.

    Its settings are ``weights`` (a name such as ``"IMAGENET1K_V1"``, or None for random ones), ``num_classes``,
    ``download`` (whether weights that are not on this machine may be fetched) and all that torchvision's builder takes.

    Raises:
        UnknownNameError: if torchvision has no such classifier.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = "; did you mean " + " or ".join(f"'torchvision:{entry}'" for entry in near) + "?" if near else ""
        raise UnknownNameError(f"unknown model 'torchvision:{name}'{hint} (torchvision has: {', '.join(known)})")

    def build(
        weights: str | None = None, num_classes: int = 1000, download: bool = False, **settings: Any
    ) -> nn.Module:
        entry = None if weights is None else _weights(name, weights, download)
        if name in _AUXILIARY and entry is None:
            settings = {"aux_logits": False, "init_weights": True, **settings}
        model: Any = models.get_model(name, weights=entry, num_classes=num_classes, **settings)
        if name == "inception_v3" and not settings.get("aux_logits", False):
            # Its pretrained weights come with the side classifier.
            model.aux_logits, model.AuxLogits = False, None
        built: nn.Module = model
        return built

    build.__doc__ = f"torchvision's {name}."
    return build


def _weights(name: str, weights: str, download: bool) -> Any:
    """The entry of torchvision's enumeration, its file on this machine and whole."""
    from torchvision import models

    entries = models.get_model_weights(name)
    title = weights.removeprefix(f"{entries.__name__}.")
    if title not in entries.__members__:
        raise SettingsError(f"weights must be None or one of {', '.join(entries.__members__)}, got {weights!r}")
    entry = entries[title]
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(entry.url).path).name
    if not path.is_file():
        if not download:
            raise SettingsError(
                f"weights {entry.name} are not on this machine: put {entry.url} at {path}, or set download to true"
            )
        try:
            entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except Exception as error:
            raise SettingsError(f"weights {entry.name} cannot be fetched from {entry.url}: {error}") from error
    try:
        # Read once without pickle's powers: torchvision itself would let the file run code.
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).split("\n", 1)[0]
        raise SettingsError(
            f"{path} holds no weights that can be read ({reason}); delete it to fetch it again"
        ) from None
    return entry
