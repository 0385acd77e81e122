"""What a suite is: comparisons of criteria under equal conditions, checked before anything runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .criteria import CRITERIA, CriterionSpec
from .datasets import DATASETS
from .models import MODELS
from .recipe import Recipe
from .registry import Spec
from .targets import Target

__all__ = ["Conditions", "Kind", "Ranking", "Suite", "SuiteConditions"]

Kind = Literal["comparison", "ablation", "stability"]
Ranking = Literal["local", "global", "isomorphic"]


class SuiteConditions(BaseModel):
    """Everything that is the same for all criteria, seeds, targets and rankings of a suite.

    Attributes:
        dataset: the data.
        model: the network.
        base_recipe: how the base model is trained; None if its weights are given.
        base_weights: a safetensors file under the data root, from which the base model of every seed is read; None
            if it is trained.
        finetune_recipe: how each pruned model is trained afterwards; 0 epochs leave it one-shot.
        calibration_images: how many training images data-driven criteria see.
        ignored_layers: layers whose output channels all stay, as dotted names in which ``*`` stands for anything.
        tolerance: how far from the target a pruned model may be, as a fraction of the base model's FLOPs or parameters.
        latency_batches: batch sizes at which the networks are timed before and after.
        threads: CPU threads of torch, fixed because their number changes how sums are rounded. One is also
            fastest where networks are small.
        limit_steps: no epoch takes more steps than this; None for whole epochs. A short run proves that a suite works
            and measures nothing else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Spec
    model: Spec
    base_recipe: Recipe | None = None
    base_weights: str | None = None
    finetune_recipe: Recipe
    calibration_images: int = Field(default=128, ge=1)
    ignored_layers: tuple[str, ...] = ()
    tolerance: float = Field(default=0.01, ge=0, lt=1)
    latency_batches: tuple[int, ...] = (1, 128)
    threads: int = Field(default=1, ge=1)
    limit_steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_base(self) -> SuiteConditions:
        if (self.base_recipe is None) == (self.base_weights is None):
            raise ValueError("give either base_recipe, to train the base model, or base_weights, to read it")
        return self


class Conditions(SuiteConditions):
    """What is the same for all criteria and seeds of one table.

    Attributes:
        target: the size at which every criterion ends.
    """

    target: Target


class Suite(BaseModel):
    """Named comparisons: conditions, targets, rankings, criteria and how many seeds.

    All names must be registered and all settings known; those left to their defaults are filled in. Each target with
    each ranking is a comparison and a table of its own.

    Attributes:
        name: what it is called on the command line.
        description: one line.
        kind: ``"comparison"`` ends every criterion at the same size; ``"ablation"`` ends each entry where its own rule
            stops; ``"stability"`` compares what each criterion chooses on more and fewer and on different images.
        conditions: what is equal for all.
        targets: sizes to end at, one or more; for an ablation a single empty one.
        rankings: how channels of different layers compete.
        image_counts: numbers of calibration images that a study of stability goes through; empty for the others.
        criteria: what is compared; their titles must differ. In a comparison an entry with a rule stands only where the
            target is the operating point of that rule.
        seeds: runs of each criterion; all criteria of seed k work on the same base model, which is trained with that
            seed unless its weights are given, and on the same calibration images.
        reference: title of the criterion that tables compare the others with, seed by seed; None for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str
    kind: Kind = "comparison"
    conditions: SuiteConditions
    targets: tuple[Target, ...] = (Target(),)
    rankings: tuple[Ranking, ...] = ("local",)
    image_counts: tuple[Annotated[int, Field(ge=1)], ...] = ()
    criteria: tuple[CriterionSpec, ...] = Field(min_length=1)
    seeds: int = Field(default=3, ge=1)
    reference: str | None = None

    @field_validator("targets", "rankings")
    @classmethod
    def _some_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if not values:
            raise ValueError("give at least one")
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"{value} stands there twice")
        return values

    @field_validator("conditions")
    @classmethod
    def _complete_conditions(cls, conditions: SuiteConditions) -> SuiteConditions:
        # Here and not in the conditions, which records hold too: a record keeps the settings it was made with.
        dataset, model = DATASETS.complete(conditions.dataset), MODELS.complete(conditions.model)
        return conditions.model_copy(update={"dataset": dataset, "model": model})

    @field_validator("criteria")
    @classmethod
    def _complete_criteria(cls, criteria: tuple[CriterionSpec, ...]) -> tuple[CriterionSpec, ...]:
        titles = [criterion.title for criterion in criteria]
        for criterion in criteria:
            if titles.count(criterion.title) > 1:
                raise ValueError(f"two criteria are both called {criterion.title!r}; give them labels")
        return tuple(criterion if criterion.rule else CRITERIA.complete(criterion) for criterion in criteria)

    @model_validator(mode="after")
    def _targets_fit(self) -> Suite:
        for target in self.targets:
            if target.is_free and self.kind != "ablation":
                raise ValueError(f"targets: a {self.kind} needs at least one, such as flops_reduction: 0.5")
            if not target.is_free and self.kind == "ablation":
                raise ValueError("targets: an ablation takes none, as its entries end where their own rules stop")
            both = target.params_reduction is not None and target.flops_reduction is not None
            if both and self.rankings != ("local",):
                raise ValueError("rankings: with a target for FLOPs and for parameters only local")
        return self

    @model_validator(mode="after")
    def _rules_fit(self) -> Suite:
        for entry in self.criteria:
            if self.kind == "ablation" and entry.rule is None:
                raise ValueError(
                    f"criteria: {entry.title!r} has no rule to stop by, as every entry of an ablation must"
                )
            points = [target.operating_point for target in self.targets]
            if self.kind == "comparison" and entry.rule is not None and entry.rule not in points:
                raise ValueError(
                    f"criteria: {entry.title!r} stops by its own rule; it needs a target operating_point with the same "
                    "neighbors and threshold"
                )
        return self

    @model_validator(mode="after")
    def _image_counts_fit(self) -> Suite:
        if self.kind != "stability" and self.image_counts:
            raise ValueError(f"image_counts: only a study of stability takes them, and this is a {self.kind}")
        if self.kind == "stability" and len(set(self.image_counts)) < 2:
            raise ValueError("image_counts: a study of stability needs at least two different ones")
        return self

    @model_validator(mode="after")
    def _known_reference(self) -> Suite:
        titles = [criterion.title for criterion in self.criteria]
        if self.reference is not None and self.reference not in titles:
            raise ValueError(f"reference {self.reference!r} is none of the criteria ({', '.join(titles)})")
        return self

    def tables(self) -> list[tuple[Conditions, Ranking]]:
        """Conditions and ranking of each table: what stands in one was made alike."""
        counts = self.image_counts or (self.conditions.calibration_images,)
        return [
            (Conditions(**{**dict(self.conditions), "calibration_images": count}, target=target), ranking)
            for target in self.targets
            for ranking in self.rankings
            for count in counts
        ]

    def entries(self, target: Target) -> tuple[CriterionSpec, ...]:
        """The criteria that can stand in a table with this target: all, but for rules that stop elsewhere."""
        if self.kind != "comparison":
            return self.criteria
        return tuple(entry for entry in self.criteria if entry.rule in (None, target.operating_point))

    def smoke(self) -> Suite:
        """The same suite cut down to prove that it runs: one seed, one epoch of two steps, sixteen images."""
        short = {"epochs": 1}
        recipes = {
            name: recipe.model_copy(update=short)
            for name in ("base_recipe", "finetune_recipe")
            if (recipe := getattr(self.conditions, name)) is not None and recipe.epochs
        }
        images = min(16, self.conditions.calibration_images)
        counts = tuple(sorted(self.image_counts)[:2])
        changes = {**recipes, "limit_steps": 2, "calibration_images": images, "latency_batches": (1,)}
        conditions = self.conditions.model_copy(update=changes)
        return self.model_copy(
            update={"name": f"{self.name}-smoke", "conditions": conditions, "image_counts": counts, "seeds": 1}
        )
