"""What is equal for everything that is compared."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..registry.field_errors import field_error, validation_error
from ..registry.registry import Spec
from ..training.recipe import Recipe
from .targets import Target


class SuiteConditions(BaseModel):
    """What is the same for all criteria, seeds, targets and rankings of a suite.

    Attributes:
        dataset: the data.
        model: the network.
        base_recipe: how the base model is trained; None if its weights are given.
        base_weights: a safetensors file under the data root, from which the base model of every seed is read; None
            if it is trained.
        base_seed: the seed that the one base model of all seeds is trained with; None if each seed trains its own.
        finetune_recipe: how each pruned model is trained afterwards; with 0 epochs it is not.
        calibration_images: number of training images that data-driven criteria use.
        ignored_layers: layers whose output channels are all kept, as dotted names in which ``*`` matches anything.
        tolerance: largest distance from the target, as a fraction of the base model's FLOPs or parameters.
        latency_batches: batch sizes at which the networks are timed before and after.
        threads: CPU threads of torch, fixed because their number changes how sums are rounded. For small networks one
            is also fastest.
        limit_steps: largest number of steps of an epoch; None for whole epochs. A short run shows that
            a suite works and measures nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Spec
    model: Spec
    base_recipe: Recipe | None = None
    base_weights: str | None = None
    base_seed: int | None = Field(default=None, ge=0)
    finetune_recipe: Recipe
    calibration_images: int = Field(default=128, ge=1)
    ignored_layers: tuple[str, ...] = ()
    tolerance: float = Field(default=0.01, ge=0, lt=1)
    latency_batches: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(default=(1, 128), max_length=16)
    threads: int = Field(default=1, ge=1, le=1024)
    limit_steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_base(self) -> SuiteConditions:
        if self.base_recipe is None and self.base_weights is None:
            raise ValueError("give either base_recipe, to train the base model, or base_weights, to read it")
        if self.base_recipe is not None and self.base_weights is not None:
            message = "cannot be combined with base_recipe: the base model is read or trained"
            raise validation_error(field_error(message, "base_weights"))
        if self.base_recipe is None and self.base_seed is not None:
            message = "cannot be combined with base_weights: no base model is trained"
            raise validation_error(field_error(message, "base_seed"))
        if self.base_recipe is not None and self.base_recipe.objective in ("distillation", "recovery"):
            message = "a base model has no network to learn from"
            raise validation_error(field_error(message, "base_recipe", "objective"))
        return self


class Conditions(SuiteConditions):
    """What is the same for all criteria and seeds of one table.

    Attributes:
        target: the size that every criterion prunes to.
    """

    target: Target
