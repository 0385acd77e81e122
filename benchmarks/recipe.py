"""How a network is trained, and what an epoch of it gave."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .mistakes import mistake, refusal

__all__ = ["Epoch", "Recipe", "learning_rate_at"]


class Recipe(BaseModel):
    """How a network is trained: SGD with Nesterov momentum and a schedule over all steps.

    Attributes:
        epochs: passes over the training images; 0 means no training.
        learning_rate: the highest.
        schedule: ``"cosine"`` falls to 0 along half a cosine; ``"step"`` divides by 10 at half and again at
            three quarters of the steps.
        warmup_epochs: in the first so many the rate also rises linearly from near 0, as large batches need it (Goyal et
            al. 2017).
        batch_size: images per step; a last, smaller batch is used too.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty on all parameters.
        augmentation: ``"crop-flip"`` moves and mirrors every image at random, see
            :func:`~foad_plugins.benchmarks.augmentation.crop_and_flip`.
        channels_last: train with channels last in memory, which convolutions on many devices are faster with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=0)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: int = Field(default=0, ge=0)
    batch_size: int = Field(default=64, ge=2)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    augmentation: Literal["none", "crop-flip"] = "none"
    channels_last: bool = False

    @model_validator(mode="after")
    def _warmup_ends(self) -> Recipe:
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            message = f"must be fewer than the {self.epochs} epochs, got {self.warmup_epochs}"
            raise refusal(mistake(message, "warmup_epochs"))
        return self

    def shortened(self) -> Recipe:
        """The same for one epoch, or for none where there was none."""
        return self.model_copy(update={"epochs": min(1, self.epochs), "warmup_epochs": 0})


class Epoch(BaseModel):
    """One epoch of training.

    Attributes:
        train_loss: mean over the epoch's images, while it went on.
        test_accuracy: after it, in [0, 1].
        seconds: of training alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_loss: float
    test_accuracy: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0)


def learning_rate_at(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of step ``step``, counted from 0, of ``steps`` in all."""
    progress = step / steps
    if recipe.schedule == "cosine":
        rate = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    else:
        rate = recipe.learning_rate * (1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01)
    if not recipe.warmup_epochs:
        return rate
    return rate * min(1.0, (step + 1) * recipe.epochs / (steps * recipe.warmup_epochs))
