"""Base models: trained once for each seed, then read back."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .datasets import ImageData
from .files import hash_json, hash_tensors, write_state_dict
from .models import build_model
from .records import Setup
from .store import RecordWarning
from .training import evaluate, train

__all__ = ["BaseModel", "base_model", "base_path"]


@dataclass(frozen=True)
class BaseModel:
    """A trained network before pruning.

    Attributes:
        model: in eval mode; copy it before changing it.
        accuracy: on the test part, in [0, 1].
        weights_hash: SHA-256 of its state dict.
    """

    model: nn.Module
    accuracy: float
    weights_hash: str


def base_path(folder: Path, setup: Setup, seed: int) -> Path:
    """Where the weights lie; the name depends on all that decides them and on nothing else."""
    inputs = {
        "dataset": setup.data_hash,
        "model": setup.conditions.model.model_dump(mode="json"),
        "recipe": setup.conditions.base_recipe.model_dump(mode="json"),
        "torch": setup.versions.torch,
        "device": setup.device,
        "threads": setup.conditions.threads,
        "seed": seed,
    }
    return folder / f"{setup.conditions.model.name}-seed{seed}-{hash_json(inputs)[:16]}.pt"


def base_model(folder: Path, setup: Setup, data: ImageData, seed: int, *, quiet: bool = False) -> BaseModel:
    """The base model of a seed, from its file in ``folder`` or else trained and written there.

    A file that cannot be read, or does not fit the model, is warned about and replaced.
    """
    path = base_path(folder, setup, seed)
    model = build_model(setup.conditions.model, seed=seed)
    if not _load(model, path):
        train(
            model,
            data.train_images,
            data.train_labels,
            setup.conditions.base_recipe,
            seed=seed,
            description=f"seed {seed}: base model",
            quiet=quiet,
        )
        write_state_dict(path, model.state_dict())
    model.eval()
    accuracy = evaluate(model, data.test_images, data.test_labels)
    return BaseModel(model, accuracy, hash_tensors(model.state_dict()))


def _load(model: nn.Module, path: Path) -> bool:
    if not path.exists():
        return False
    try:
        model.load_state_dict(torch.load(path, weights_only=True))
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        reason = str(error).split("\n", 1)[0]
        warnings.warn(
            f"{path.name}: base weights cannot be used, training again ({reason})",
            RecordWarning,
            stacklevel=3,
        )
        return False
    return True
