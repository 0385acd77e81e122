"""Pruned models on the Hugging Face Hub, by the mixin of huggingface_hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ...utils.extras import require_extra
from .api import load_pruned, save_pruned
from .info import checkpoint_info

require_extra("PrunedModel needs huggingface_hub", "hub", {"huggingface_hub": "huggingface-hub", "jinja2": "jinja2"})

from huggingface_hub import ModelHubMixin, constants, hf_hub_download  # noqa: E402 - after the check that it is there

__all__ = ["PrunedModel"]

_FILE = "pruned.safetensors"
_CARD = """---
{{ card_data }}
---

A network whose redundant channels were removed with foad-plugins. Load it with

    from foad_plugins import PrunedModel

    network = PrunedModel.from_pretrained("THIS_REPOSITORY", network=unpruned_network).network

`unpruned_network` is the network before pruning, or a function that makes one.
"""


class PrunedModel(ModelHubMixin, library_name="foad-plugins", tags=["pruning"], model_card_template=_CARD):
    """A pruned network with ``save_pretrained``, ``push_to_hub`` and ``from_pretrained`` of huggingface_hub.

    The file is that of :func:`~foad_plugins.save_pruned`, without pickle, so models of strangers are safe to load.
    ``PrunedModel.from_pretrained(name, network=factory)`` takes a folder or the name of a repository of the Hub, and
    the options ``revision``, ``token``, ``cache_dir``, ``force_download`` and ``local_files_only`` of the mixin;
    ``network`` is the unpruned network, or a function that makes one, as for :func:`~foad_plugins.load_pruned`.

    Args:
        network: the pruned network.

    Attributes:
        network: the same, or the loaded one.

    Raises:
        ImportError: the extra ``hub`` is not installed.
        TypeError: ``network`` is no module.
    """

    def __init__(self, network: nn.Module) -> None:
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be the pruned module, got {type(network).__name__}")
        self.network = network

    def _save_pretrained(self, save_directory: Path) -> None:
        info = checkpoint_info(save_pruned(self.network, save_directory / _FILE))
        config = {"parameters": info.parameters, "versions": info.versions}
        # The Hub counts downloads of this file.
        (save_directory / constants.CONFIG_NAME).write_text(json.dumps(config, indent=2), "utf-8")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        network: nn.Module | Callable[[], nn.Module] | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **others: Any,
    ) -> PrunedModel:
        if others or not callable(network):
            wrong = f"{next(iter(others))!r}" if others else f"network={network!r:.60}"
            raise TypeError(f"from_pretrained takes network=, the unpruned network or a function of it; got {wrong}")
        folder = Path(model_id)
        path = folder / _FILE
        if not folder.is_dir():
            path = Path(
                hf_hub_download(
                    repo_id=model_id,
                    filename=_FILE,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                )
            )
        return cls(load_pruned(network, path))
