"""Base models: trained once for each seed and then read back, or given."""

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
from .training import Recipe, evaluate, train
from .weights import WeightsFile

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
    """Where trained weights lie; the name depends on all that decides them and on nothing else."""
    inputs = {
        "dataset": setup.data_hash,
        "model": setup.conditions.model.model_dump(mode="json"),
        "recipe": _recipe(setup).model_dump(mode="json"),
        "torch": setup.versions.torch,
        "device": setup.device,
        "threads": setup.conditions.threads,
        "seed": seed,
    }
    # The name of a user's own model is a path and a colon.
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in setup.conditions.model.name)
    return folder / f"{name}-seed{seed}-{hash_json(inputs)[:16]}.pt"


def base_model(
    folder: Path, setup: Setup, data: ImageData, seed: int, *, given: WeightsFile | None = None, quiet: bool = False
) -> BaseModel:
    """The base model of a seed: with given weights, or from its file in ``folder``, or else trained and written there.

    A file in ``folder`` that cannot be read, or does not fit the model, is warned about and replaced.

    Raises:
        WeightsError: if the given weights do not fit the model.
        TrainingDivergedError: if the training fails.
    """
    model = build_model(setup.conditions.model, seed=seed)
    if given is not None:
        given.load_into(model)
    elif not _load(model, path := base_path(folder, setup, seed)):
        train(
            model,
            data.train_images,
            data.train_labels,
            _recipe(setup),
            seed=seed,
            description=f"seed {seed}: base model",
            quiet=quiet,
        )
        write_state_dict(path, model.state_dict())
    model.eval()
    accuracy = evaluate(model, data.test_images, data.test_labels)
    return BaseModel(model, accuracy, hash_tensors(model.state_dict()))


def _recipe(setup: Setup) -> Recipe:
    recipe = setup.conditions.base_recipe
    if recipe is None:
        raise ValueError("base models of this setup are given and not trained")
    return recipe


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
