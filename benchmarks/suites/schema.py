"""The schema of a suite: comparisons of criteria under equal conditions, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..criteria import CRITERIA, CriterionSpec
from ..datasets import DATASETS
from ..errors import SettingsError
from ..models import MODELS
from ..registry.field_errors import FieldError, field_error, spec_error, validation_error
from .conditions import Conditions, SuiteConditions
from .targets import Target

Kind = Literal["comparison", "ablation", "stability"]
Ranking = Literal["local", "global", "isomorphic", "sensitivity"]

_MOST_ITEMS = 200
_MOST_RUNS = 100_000
"""A file that asks for more is refused before its runs are listed."""


class Suite(BaseModel):
    """Named comparisons: conditions, targets, rankings, criteria and number of seeds.

    All names must be registered and all settings known; missing settings get their defaults. Each target with each
    ranking is a comparison with its own table.

    Attributes:
        name: of the suite on the command line.
        description: one line.
        kind: ``"comparison"`` prunes to the same size with every criterion; ``"ablation"`` prunes as far as each
            criterion's own rule removes channels; ``"stability"`` compares what each criterion chooses on more, fewer
            and different images.
        conditions: what is equal for all.
        targets: sizes to prune to, one or more; for an ablation a single empty one.
        rankings: how channels of different layers compete.
        image_counts: numbers of calibration images that a stability suite compares; empty for the others.
        criteria: what is compared; their titles must differ. In a comparison a criterion with a rule is used only where
            the target is the operating point of that rule.
        seeds: runs of each criterion; all criteria of one seed start from the same base model, which is trained
            with that seed unless its weights are given, and use the same calibration images.
        reference: title of the criterion that tables compare the others with, seed by seed, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = Field(max_length=1000)
    kind: Kind = "comparison"
    conditions: SuiteConditions
    targets: tuple[Target, ...] = Field(default=(Target(),), max_length=_MOST_ITEMS)
    rankings: tuple[Ranking, ...] = ("local",)
    image_counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(), max_length=_MOST_ITEMS)
    criteria: tuple[CriterionSpec, ...] = Field(min_length=1, max_length=_MOST_ITEMS)
    seeds: int = Field(default=3, ge=1, le=_MOST_RUNS)
    reference: str | None = None

    @field_validator("targets", "rankings", "image_counts")
    @classmethod
    def _no_two_alike(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        again = [place for place, value in enumerate(values) if value in values[:place]]
        if again:
            raise validation_error(*(field_error(f"{values[place]} is listed twice", place) for place in again))
        return values

    @field_validator("conditions")
    @classmethod
    def _complete_conditions(cls, conditions: SuiteConditions) -> SuiteConditions:
        # Not in SuiteConditions, which records contain too: a record keeps the settings it was made with.
        complete, wrong = {}, []
        for name, registry in (("dataset", DATASETS), ("model", MODELS)):
            try:
                complete[name] = registry.complete(getattr(conditions, name))
            except SettingsError as error:
                wrong.append(spec_error(error, name))
        if wrong:
            raise validation_error(*wrong)
        return conditions.model_copy(update=complete)

    @field_validator("criteria")
    @classmethod
    def _complete_criteria(cls, criteria: tuple[CriterionSpec, ...]) -> tuple[CriterionSpec, ...]:
        complete: list[CriterionSpec] = []
        wrong = []
        for place, criterion in enumerate(criteria):
            if criterion.title in [other.title for other in criteria[:place]]:
                wrong.append(
                    field_error(f"two criteria have the title {criterion.title!r}; give them labels", place, "label")
                )
            try:
                complete.append(criterion if criterion.rule else CRITERIA.complete(criterion))
            except SettingsError as error:
                wrong.append(spec_error(error, place))
        if wrong:
            raise validation_error(*wrong)
        return tuple(complete)

    @model_validator(mode="after")
    def _parts_fit(self) -> Suite:
        wrong = [*self._wrong_targets(), *self._wrong_criteria(), *self._wrong_rest()]
        if wrong:
            raise validation_error(*wrong)
        return self

    def _wrong_targets(self) -> Iterator[FieldError]:
        if not self.targets:
            yield field_error("must have at least one item", "targets")
        for place, target in enumerate(self.targets):
            if self.kind == "ablation" and not target.is_free:
                message = "must be empty for an ablation, whose criteria stop by their own rules"
                yield field_error(message, "targets", place)
            elif self.kind != "ablation" and target.is_free:
                yield field_error(
                    f"must give the size a {self.kind} prunes to, such as flops_reduction: 0.5", "targets", place
                )
            elif not self.criteria_for(target):
                yield field_error("fits no criterion: all have rules with another operating point", "targets", place)
            both = target.params_reduction is not None and target.flops_reduction is not None
            if both and not {"local", "sensitivity"}.issuperset(self.rankings):
                yield field_error(
                    "must be local or sensitivity where FLOPs and parameters both are targets", "rankings"
                )

    def _wrong_criteria(self) -> Iterator[FieldError]:
        points = [target.operating_point for target in self.targets]
        for place, criterion in enumerate(self.criteria):
            if self.kind == "ablation" and criterion.rule is None:
                message = f"{criterion.title!r} has no rule, which every criterion of an ablation needs"
                yield field_error(message, "criteria", place)
            if self.kind == "comparison" and criterion.rule is not None and criterion.rule not in points:
                message = (
                    f"{criterion.title!r} stops by its own rule; it needs a target operating_point with the same "
                    "neighbors and threshold"
                )
                yield field_error(message, "criteria", place, "rule")

    def _wrong_rest(self) -> Iterator[FieldError]:
        titles = [criterion.title for criterion in self.criteria]
        if not self.rankings:
            yield field_error("must have at least one item", "rankings")
        if self.kind != "stability" and self.image_counts:
            yield field_error(f"is only for a stability suite, and this is a {self.kind}", "image_counts")
        if self.kind == "stability" and len(self.image_counts) < 2:
            yield field_error("must have at least two items for a stability suite", "image_counts")
        tables = len(self.targets) * len(self.rankings) * max(1, len(self.image_counts))
        if (runs := tables * len(self.criteria) * self.seeds) > _MOST_RUNS:
            yield field_error(f"gives {runs} runs, the limit is {_MOST_RUNS}", "seeds")
        if self.reference is not None and self.reference not in titles:
            yield field_error(f"{self.reference!r} is not one of the criteria ({', '.join(titles)})", "reference")

    def tables(self) -> list[tuple[Conditions, Ranking]]:
        """Conditions and ranking of each table; the runs of a table share both."""
        counts = self.image_counts or (self.conditions.calibration_images,)
        return [
            (Conditions(**{**dict(self.conditions), "calibration_images": count}, target=target), ranking)
            for target in self.targets
            for ranking in self.rankings
            for count in counts
        ]

    def criteria_for(self, target: Target) -> tuple[CriterionSpec, ...]:
        """The criteria of the table with this target: all but those with a rule of another operating point."""
        if self.kind != "comparison":
            return self.criteria
        return tuple(criterion for criterion in self.criteria if criterion.rule in (None, target.operating_point))

    def smoke(self) -> Suite:
        """The same suite cut down to check that it runs: one seed, one epoch of two steps, sixteen images."""
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
