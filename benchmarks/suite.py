"""What a suite is: one comparison of criteria under equal conditions, checked before anything runs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .criteria import CRITERIA, CriterionSpec
from .datasets import DATASETS
from .models import MODELS
from .registry import Spec
from .training import Recipe

__all__ = ["Conditions", "Suite"]


class Conditions(BaseModel):
    """Everything that is the same for all criteria and seeds of a comparison.

    Attributes:
        dataset: the data.
        model: the network.
        base_recipe: how the base model is trained; None if its weights are given.
        base_weights: a safetensors file under the data root, from which the base model of every seed is read; None
            if it is trained.
        finetune_recipe: how each pruned model is trained afterwards; 0 epochs leave it one-shot.
        calibration_images: how many training images data-driven criteria see.
        flops_reduction: the target, as the fraction of the base model's FLOPs that goes.
        tolerance: how far from the target a pruned model may be, as a fraction of the base model's FLOPs.
        threads: CPU threads of torch, fixed because their number changes how sums are rounded. One is also
            fastest where networks are small.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Spec
    model: Spec
    base_recipe: Recipe | None = None
    base_weights: str | None = None
    finetune_recipe: Recipe
    calibration_images: int = Field(default=128, ge=1)
    flops_reduction: float = Field(gt=0, lt=1)
    tolerance: float = Field(default=0.02, ge=0, lt=1)
    threads: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_base(self) -> Conditions:
        if (self.base_recipe is None) == (self.base_weights is None):
            raise ValueError("give either base_recipe, to train the base model, or base_weights, to read it")
        return self


class Suite(BaseModel):
    """A named comparison: conditions, criteria and how many seeds.

    All names must be registered and all settings known; those left to their defaults are filled in.

    Attributes:
        name: what it is called on the command line.
        description: one line.
        conditions: what is equal for all.
        criteria: what is compared; their titles must differ.
        seeds: runs of each criterion; all criteria of seed k work on the same base model, which is trained with that
            seed unless its weights are given, and on the same calibration images.
        reference: title of the criterion that tables compare the others with, seed by seed; None for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str
    conditions: Conditions
    criteria: tuple[CriterionSpec, ...] = Field(min_length=1)
    seeds: int = Field(default=3, ge=1)
    reference: str | None = None

    @field_validator("conditions")
    @classmethod
    def _complete_conditions(cls, conditions: Conditions) -> Conditions:
        # Here and not in Conditions, which records hold too: a record keeps the settings it was made with.
        dataset, model = DATASETS.complete(conditions.dataset), MODELS.complete(conditions.model)
        return conditions.model_copy(update={"dataset": dataset, "model": model})

    @field_validator("criteria")
    @classmethod
    def _complete_criteria(cls, criteria: tuple[CriterionSpec, ...]) -> tuple[CriterionSpec, ...]:
        titles = [criterion.title for criterion in criteria]
        for criterion in criteria:
            if titles.count(criterion.title) > 1:
                raise ValueError(f"two criteria are both called {criterion.title!r}; give them labels")
        return tuple(CRITERIA.complete(criterion) for criterion in criteria)

    @model_validator(mode="after")
    def _known_reference(self) -> Suite:
        titles = [criterion.title for criterion in self.criteria]
        if self.reference is not None and self.reference not in titles:
            raise ValueError(f"reference {self.reference!r} is none of the criteria ({', '.join(titles)})")
        return self
