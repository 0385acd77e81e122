"""Any classifier of torchvision, by torchvision's name for it: ``torchvision:resnet18``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from ...utils.text import did_you_mean
from ..errors import SettingsError
from ..registry.registry import UnknownNameError
from .register import MODELS

_AUXILIARY = ("googlenet", "inception_v3")
"""Networks with auxiliary classifiers, which change what ``forward`` returns in training mode."""


@MODELS.scheme("torchvision")
def torchvision_factory(name: str) -> Callable[..., nn.Module]:
    """The factory of torchvision's classifier of that name.

    Its settings are ``weights`` (a name such as ``"IMAGENET1K_V1"``, or None for random ones), ``num_classes``,
    ``download`` (whether missing weights may be downloaded) and those of torchvision's builder.

    Raises:
        UnknownNameError: if torchvision has no such classifier.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        hint = did_you_mean(f"torchvision:{name}", [f"torchvision:{each}" for each in known]) if name else ""
        raise UnknownNameError(f"unknown model 'torchvision:{name}'{hint} (torchvision has: {', '.join(known)})")

    def build(
        weights: str | None = None, num_classes: int = 1000, download: bool = False, **settings: Any
    ) -> nn.Module:
        member = None if weights is None else _weights(name, weights, download)
        if name in _AUXILIARY and member is None:
            settings = {"aux_logits": False, "init_weights": True, **settings}
        model: Any = models.get_model(name, weights=member, num_classes=num_classes, **settings)
        if name == "inception_v3" and not settings.get("aux_logits", False):
            # Its pretrained weights include the auxiliary classifier.
            model.aux_logits, model.AuxLogits = False, None
        built: nn.Module = model
        return built

    build.__doc__ = f"torchvision's {name}."
    return build


def _weights(name: str, weights: str, download: bool) -> Any:
    """A member of torchvision's weights enumeration, after a check that its file is present and complete."""
    from torchvision import models

    members = models.get_model_weights(name)
    title = weights.removeprefix(f"{members.__name__}.")
    if title not in members.__members__:
        raise SettingsError(f"weights must be None or one of {', '.join(members.__members__)}, got {weights!r}")
    member = members[title]
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(member.url).path).name
    if not path.is_file():
        if not download:
            raise SettingsError(
                f"weights {member.name} are not on this machine: put {member.url} at {path}, or set download to true"
            )
        try:
            member.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except Exception as error:
            raise SettingsError(f"weights {member.name} cannot be fetched from {member.url}: {error}") from error
    try:
        # Checked without pickle: torchvision itself would let the file run code.
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).split("\n", 1)[0]
        raise SettingsError(
            f"{path} holds no weights that can be read ({reason}); delete it to fetch it again"
        ) from None
    return member
