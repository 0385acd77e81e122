"""What a suite is: comparisons of criteria under equal conditions, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..criteria import CRITERIA, CriterionSpec
from ..datasets import DATASETS
from ..errors import SettingsError
from ..models import MODELS
from ..registry.field_errors import Mistake, mistake, mistaken_spec, refusal
from .conditions import Conditions, SuiteConditions
from .targets import Target

__all__ = ["Conditions", "Kind", "Ranking", "Suite", "SuiteConditions"]

Kind = Literal["comparison", "ablation", "stability"]
Ranking = Literal["local", "global", "isomorphic"]


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

    @field_validator("targets", "rankings", "image_counts")
    @classmethod
    def _no_two_alike(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        again = [place for place, value in enumerate(values) if value in values[:place]]
        if again:
            raise refusal(*(mistake(f"{values[place]} stands there twice", place) for place in again))
        return values

    @field_validator("conditions")
    @classmethod
    def _complete_conditions(cls, conditions: SuiteConditions) -> SuiteConditions:
        # Here and not in the conditions, which records hold too: a record keeps the settings it was made with.
        complete, wrong = {}, []
        for name, registry in (("dataset", DATASETS), ("model", MODELS)):
            try:
                complete[name] = registry.complete(getattr(conditions, name))
            except SettingsError as error:
                wrong.append(mistaken_spec(error, name))
        if wrong:
            raise refusal(*wrong)
        return conditions.model_copy(update=complete)

    @field_validator("criteria")
    @classmethod
    def _complete_criteria(cls, criteria: tuple[CriterionSpec, ...]) -> tuple[CriterionSpec, ...]:
        complete: list[CriterionSpec] = []
        wrong = []
        for place, criterion in enumerate(criteria):
            if criterion.title in [other.title for other in criteria[:place]]:
                wrong.append(mistake(f"two are called {criterion.title!r}; give them labels", place, "label"))
            try:
                complete.append(criterion if criterion.rule else CRITERIA.complete(criterion))
            except SettingsError as error:
                wrong.append(mistaken_spec(error, place))
        if wrong:
            raise refusal(*wrong)
        return tuple(complete)

    @model_validator(mode="after")
    def _parts_fit(self) -> Suite:
        wrong = [*self._wrong_targets(), *self._wrong_entries(), *self._wrong_rest()]
        if wrong:
            raise refusal(*wrong)
        return self

    def _wrong_targets(self) -> Iterator[Mistake]:
        if not self.targets:
            yield mistake("must hold at least one", "targets")
        for place, target in enumerate(self.targets):
            if self.kind == "ablation" and not target.is_free:
                message = "must be none for an ablation, as its entries end where their own rules stop"
                yield mistake(message, "targets", place)
            elif self.kind != "ablation" and target.is_free:
                yield mistake(f"must say where a {self.kind} ends, such as flops_reduction: 0.5", "targets", place)
            elif not self.entries(target):
                yield mistake("is that of no entry: all have rules that stop elsewhere", "targets", place)
            both = target.params_reduction is not None and target.flops_reduction is not None
            if both and self.rankings != ("local",):
                yield mistake("must be local alone where FLOPs and parameters both are targets", "rankings")

    def _wrong_entries(self) -> Iterator[Mistake]:
        points = [target.operating_point for target in self.targets]
        for place, entry in enumerate(self.criteria):
            if self.kind == "ablation" and entry.rule is None:
                message = f"{entry.title!r} has no rule to stop by, as every entry of an ablation must"
                yield mistake(message, "criteria", place)
            if self.kind == "comparison" and entry.rule is not None and entry.rule not in points:
                message = (
                    f"{entry.title!r} stops by its own rule; it needs a target operating_point with the same neighbors "
                    "and threshold"
                )
                yield mistake(message, "criteria", place, "rule")

    def _wrong_rest(self) -> Iterator[Mistake]:
        titles = [criterion.title for criterion in self.criteria]
        if not self.rankings:
            yield mistake("must hold at least one", "rankings")
        if self.kind != "stability" and self.image_counts:
            yield mistake(f"must be none but for a study of stability, and this is a {self.kind}", "image_counts")
        if self.kind == "stability" and len(self.image_counts) < 2:
            yield mistake("must hold at least two for a study of stability", "image_counts")
        if self.reference is not None and self.reference not in titles:
            yield mistake(f"{self.reference!r} is none of the criteria ({', '.join(titles)})", "reference")

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
        conditions = self.conditions
        changes = {
            "base_recipe": conditions.base_recipe and conditions.base_recipe.shortened(),
            "finetune_recipe": conditions.finetune_recipe.shortened(),
            "calibration_images": min(16, conditions.calibration_images),
            "latency_batches": conditions.latency_batches[:1],
            "limit_steps": 2,
        }
        return self.model_copy(
            update={
                "name": f"{self.name}-smoke",
                "conditions": conditions.model_copy(update=changes),
                "image_counts": tuple(sorted(self.image_counts)[:2]),
                "seeds": 1,
            }
        )
