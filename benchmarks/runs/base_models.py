"""Base models: trained once for each seed and then read back, or given."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from ..datasets import ImageSource
from ..datasets.evaluation import Evaluation
from ..files import hash_json, hash_tensors
from ..models import build_model
from ..records.schema import Setup
from ..records.store import RecordWarning
from ..training.hardware import Hardware
from ..training.recipe import Recipe
from ..training.resume import state_file
from ..training.train import train
from .weights_file import WeightsError, WeightsFile

_LONGEST_NAME = 100


@dataclass(frozen=True)
class BaseModel:
    """A trained network before pruning.

    Attributes:
        model: in eval mode; copy it before changing it.
        evaluation: on the test part.
        weights_hash: SHA-256 of its state dict.
    """

    model: nn.Module
    evaluation: Evaluation
    weights_hash: str

    @property
    def accuracy(self) -> float:
        """On the test part, in [0, 1]."""
        return self.evaluation.accuracy


def base_path(folder: Path, setup: Setup, seed: int) -> Path:
    """Path of trained weights; the name depends on all that decides them and on nothing else."""
    conditions = setup.conditions
    inputs = {
        "dataset": setup.data_hash,
        "model": conditions.model.model_dump(mode="json"),
        "recipe": _recipe(setup).model_dump(mode="json", exclude_defaults=True),
        "torch": setup.versions.torch,
        "hardware": hardware_of(setup).model_dump(mode="json", exclude_defaults=True),
        "threads": conditions.threads,
        "limit_steps": conditions.limit_steps,
        "seed": seed,
    }
    # The name of a user's own model is a path and a colon, and may be longer than a file's name can be.
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in conditions.model.name)[-_LONGEST_NAME:]
    return folder / f"{name}-seed{seed}-{hash_json(inputs)[:16]}.safetensors"


def hardware_of(setup: Setup) -> Hardware:
    """What a setup's networks are trained on."""
    return Hardware.model_validate({name: getattr(setup, name) for name in Hardware.model_fields})


def train_base(setup: Setup, data: ImageSource, seed: int, *, states: Path | None = None, quiet: bool = False) -> bytes:
    """Train the base model of a seed; returns a safetensors file.

    Args:
        setup: what is trained and how.
        data: on what.
        seed: of weights, order and augmentation.
        states: folder of the states of unfinished trainings; None for none.
        quiet: no progress bar.

    Raises:
        TrainingDivergedError: if the training fails.
    """
    model = build_model(setup.conditions.model, seed=seed).to(data.device)
    train(
        model,
        data,
        _recipe(setup),
        seed=seed,
        hardware=hardware_of(setup),
        limit_steps=setup.conditions.limit_steps,
        state=state_file(states, base_path(Path(), setup, seed).name),
        description=f"seed {seed}: base model",
        quiet=quiet,
    )
    # Copies, because tensors that share memory, as tied weights do, cannot be saved.
    return save({name: tensor.cpu().clone().contiguous() for name, tensor in model.state_dict().items()})


def read_base(path: Path, setup: Setup) -> WeightsFile | None:
    """The trained weights in a file; None if there are none, or none that fit, which is warned about."""
    if not path.exists():
        return None
    try:
        weights = WeightsFile.read(path)
        weights.load_into(build_model(setup.conditions.model, seed=0))
    except (WeightsError, OSError) as error:
        reason = str(error).split("\n", 1)[0]
        message = f"{path.name}: base weights cannot be used, training again ({reason})"
        warnings.warn(message, RecordWarning, stacklevel=2)
        return None
    return weights


def load_base(setup: Setup, weights: WeightsFile, data: ImageSource) -> BaseModel:
    """The base model with these weights, on the data's device, and its accuracy.

    Raises:
        WeightsError: if the weights do not fit the model.
    """
    model = build_model(setup.conditions.model, seed=0)
    weights.load_into(model)
    model.to(data.device).eval()
    with torch.no_grad():
        return BaseModel(model, data.evaluate(model), hash_tensors(model.state_dict()))


def _recipe(setup: Setup) -> Recipe:
    recipe = setup.conditions.base_recipe
    if recipe is None:
        raise ValueError("base models of this setup are given and not trained")
    return recipe
