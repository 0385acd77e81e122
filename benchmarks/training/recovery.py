"""A pruned network trained without labels by :func:`~foad_plugins.recover`, as the epochs of a recipe."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ... import RecoveryDivergedError, recover
from ..datasets.source import ImageSource
from ..errors import SettingsError
from .hardware import Hardware
from .recipe import Epoch, Recipe
from .train import TrainingDivergedError, evaluate

_PADDING = 4
"""Pixels by which images are shifted, as in the crops of the data sets."""
_BRIGHTNESS = 0.2


class _TrainingImages(Dataset[Tensor]):
    """The training images alone, so that no label can be used."""

    def __init__(self, data: ImageSource) -> None:
        self._data = data

    def __len__(self) -> int:
        return self._data.train_count

    def __getitem__(self, number: int) -> Tensor:
        return self._data.pick(torch.tensor([number]))[0][0]

    def __getitems__(self, numbers: list[int]) -> list[Tensor]:
        return list(self._data.pick(torch.tensor(numbers))[0])


def recover_by_recipe(
    model: nn.Module,
    original: nn.Module,
    data: ImageSource,
    recipe: Recipe,
    *,
    seed: int,
    hardware: Hardware,
    limit_steps: int | None = None,
    state: Path | None = None,
    quiet: bool = False,
) -> list[Epoch]:
    """Train a pruned network in place; its test accuracy is measured, and decides nothing.

    Args:
        model: the pruned network.
        original: the network before pruning; unchanged.
        data: the training part is learned from, without labels.
        recipe: with the objective ``"recovery"``.
        seed: of the order of the images and of their augmentation.
        hardware: one device, and the precision.
        limit_steps: largest number of steps of an epoch.
        state: a file from which an interrupted training is resumed.
        quiet: no progress bar.

    Returns:
        The epochs; the accuracy of the last is that of the network as it is now.

    Raises:
        SettingsError: more than one device, 16-bit floats, or networks and data that do not fit.
        TrainingDivergedError: if the loss is not finite.
    """
    if hardware.devices > 1 or hardware.precision == "16-mixed":
        raise SettingsError("objective: recovery trains on one device, in 32-true or bf16-mixed")
    images = DataLoader(_TrainingImages(data), batch_size=recipe.batch_size)
    crops = recipe.augmentation.startswith("crop-flip")
    steps = None
    if limit_steps is not None:
        steps = recipe.epochs * min(limit_steps, math.ceil(data.train_count / recipe.batch_size))
    try:
        report = recover(
            model,
            original,
            images,
            epochs=recipe.epochs if steps is None else None,
            steps=steps,
            loss=recipe.loss,
            feature_layers=recipe.feature_layers or "auto",
            feature_weight=recipe.feature_weight,
            batch_size=recipe.batch_size,
            optimizer=recipe.optimizer,
            learning_rate=recipe.learning_rate,
            warmup=recipe.warmup_epochs / recipe.epochs,
            weight_decay=recipe.weight_decay,
            crop=_PADDING / max(data.example.shape[2:]) if crops else 0.0,
            flip=recipe.augmentation != "none",
            brightness=_BRIGHTNESS if recipe.augmentation == "crop-flip-color" else 0.0,
            precision="bf16" if hardware.precision == "bf16-mixed" else "float32",
            device=hardware.device,
            channels_last=recipe.channels_last,
            checkpoint=state,
            distributed=False,
            seed=seed,
            progress=not quiet,
        )
    except RecoveryDivergedError as error:
        raise TrainingDivergedError(str(error)) from error
    except ValueError as error:
        raise SettingsError(f"objective: {error}") from None
    accuracy = evaluate(model, data)
    epochs = []
    for epoch in range(1, recipe.epochs + 1):
        # Long trainings are measured less than once an epoch.
        measured = next(one for one in report.history if one.step * recipe.epochs >= epoch * report.steps)
        seconds = report.seconds / recipe.epochs
        last = epoch == recipe.epochs
        epochs.append(Epoch(train_loss=measured.train_loss, test_accuracy=accuracy if last else None, seconds=seconds))
    return epochs
