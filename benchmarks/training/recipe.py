"""How a network is trained, and what an epoch of it gave."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..registry.field_errors import field_error, validation_error

_HARMLESS_RATE = 0.01
"""At a large rate without its warm-up, two steps can drive a deep network's maps to infinity."""


class Recipe(BaseModel):
    """How a network is trained: an objective, an optimizer and a schedule over all steps.

    Attributes:
        epochs: passes over the training images; 0 means no training.
        learning_rate: the highest.
        objective: ``"labels"`` is cross-entropy; ``"distillation"`` moves the outputs of a pruned network to those of
            the unpruned one, without labels; ``"arcface"`` trains embeddings of labeled faces by an angular margin. See
            :mod:`~foad_plugins.benchmarks.training.objectives`. ``"recovery"`` calls :func:`~foad_plugins.recover`,
            which needs no labels either.
        feature_layers: of distillation and recovery: layers whose outputs are compared too, as dotted names in which
            ``*`` stands for anything but a dot. Their widths must be unchanged. Recovery finds them where none is
            given.
        feature_weight: of distillation and recovery: weight of the term for them.
        loss: of recovery: of the outputs.
        margin: of arcface, in radians.
        scale: of arcface.
        optimizer: ``"sgd"`` with Nesterov momentum; ``"adamw"`` (Loshchilov and Hutter 2019), which has no momentum to
            set.
        schedule: ``"cosine"`` falls to 0 along half a cosine; ``"step"`` divides by 10 at each of the milestones.
        milestones: of the steps, as fractions of all.
        warmup_epochs: number of first epochs in which the rate rises linearly from near 0, for large batches (Goyal et
            al. 2017).
        batch_size: images per step; a last, smaller batch is used too.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty on all parameters.
        weight_decays: another penalty for the parameters that a pattern fits, such as ``"linear1.*"``; the first that
            fits counts. The class centers of arcface are called ``head``.
        augmentation: ``"flip"`` mirrors every image with probability one half; ``"crop-flip"`` also moves it, in the
            way of the data; ``"crop-flip-color"`` changes contrast and color too, see
            :func:`~foad_plugins.recovery.training.augmentation.color_jitter`.
        channels_last: train with channels last in memory, which convolutions on many devices are faster with.
        measure_every: epochs between two evaluations; the last epoch is always evaluated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=0, le=100_000)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    objective: Literal["labels", "distillation", "arcface", "recovery"] = "labels"
    feature_layers: tuple[str, ...] = ()
    feature_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    loss: Literal["auto", "mse", "kl", "cosine"] = "auto"
    margin: float = Field(default=0.5, ge=0, lt=math.pi / 2)
    scale: float = Field(default=64.0, gt=0, allow_inf_nan=False)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    schedule: Literal["cosine", "step"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    warmup_epochs: int = Field(default=0, ge=0)
    batch_size: int = Field(default=64, ge=2)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    weight_decays: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}
    augmentation: Literal["none", "flip", "crop-flip", "crop-flip-color"] = "none"
    channels_last: bool = False
    measure_every: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _warmup_ends(self) -> Recipe:
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            message = f"must be fewer than the {self.epochs} epochs, got {self.warmup_epochs}"
            raise validation_error(field_error(message, "warmup_epochs"))
        return self

    @model_validator(mode="after")
    def _features_are_distilled(self) -> Recipe:
        if self.feature_layers and self.objective not in ("distillation", "recovery"):
            message = f"only distillation and recovery compare them, the objective is {self.objective!r}"
            raise validation_error(field_error(message, "feature_layers"))
        return self

    @model_validator(mode="after")
    def _recovery_has_no_other_settings(self) -> Recipe:
        fixed = {"schedule": "cosine", "momentum": 0.9, "weight_decays": {}}
        wrong = [name for name, value in fixed.items() if getattr(self, name) != value]
        if self.objective == "recovery" and wrong:
            raise validation_error(*(field_error(f"must be {fixed[name]!r} for recovery", name) for name in wrong))
        if self.objective != "recovery" and self.loss != "auto":
            raise validation_error(field_error(f"is only for recovery, the objective is {self.objective!r}", "loss"))
        return self

    def is_measured(self, epoch: int) -> bool:
        """Whether the epoch of that number, from 1, is followed by an evaluation."""
        return epoch == self.epochs or epoch % self.measure_every == 0

    def shortened(self) -> Recipe:
        """The same for one epoch, or for none where there was none, at a rate that needs no warm-up."""
        rate = min(_HARMLESS_RATE, self.learning_rate)
        return self.model_copy(update={"epochs": min(1, self.epochs), "warmup_epochs": 0, "learning_rate": rate})


class Epoch(BaseModel):
    """One epoch of training.

    Attributes:
        train_loss: mean over the epoch's images, during the epoch.
        test_accuracy: after it, in [0, 1]; None if it was not measured.
        seconds: of training alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    train_loss: float
    test_accuracy: float | None = Field(default=None, ge=0, le=1)
    seconds: float = Field(ge=0)


def learning_rate_at(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of step ``step``, counted from 0, of ``steps`` in all."""
    progress = step / steps
    if recipe.schedule == "cosine":
        rate = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    else:
        rate = recipe.learning_rate * 0.1 ** sum(progress >= milestone for milestone in recipe.milestones)
    if not recipe.warmup_epochs:
        return rate
    return rate * min(1.0, (step + 1) * recipe.epochs / (steps * recipe.warmup_epochs))
