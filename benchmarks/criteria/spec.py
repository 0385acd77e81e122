"""How a suite describes a criterion, and what a run passes to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..registry.field_errors import field_error, validation_error
from ..registry.registry import Spec


@dataclass(frozen=True)
class CriterionContext:
    """What a run passes to its criterion.

    Attributes:
        images: calibration images (N, C, H, W), the same for every criterion of a seed.
        seed: of the run, for criteria that use random numbers.
        labels: classes of the images, int64 (N,), or None. Only a criterion whose docstring states it may use them.

    Raises:
        ValueError: if there are labels and they are not one integer for each image.
    """

    images: torch.Tensor
    seed: int
    labels: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels: int64, one for each of the {len(self.images)} images, got {self.labels.dtype} of shape "
                f"{tuple(self.labels.shape)}"
            )


class Rule(BaseModel):
    """The parameters of the published rule, which decide how many channels it removes.

    Attributes:
        neighbors: the paper's t, at least 1.
        threshold: the paper's s, in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    neighbors: int = Field(default=1, ge=1)
    threshold: float = Field(default=0.0, ge=0, le=1)


class CriterionSpec(Spec):
    """A criterion of a comparison, its settings and what follows the removal.

    Attributes:
        label: what tables call it; its name, if left empty.
        ranking: how layers compete, where that is not as in the rest of the table.
        compensate: how the layers that consume removed channels are adjusted, as for :func:`~foad_plugins.prune`.
        reestimate_bn: whether the statistics of batch normalization are adjusted on the calibration images.
        rule: parameters of the published rule, which then decides how many channels are removed, instead of a
            target; only for ``foad``, which then takes no settings.
    """

    label: str = Field(default="", max_length=60)
    ranking: Literal["sensitivity"] | None = None
    compensate: Literal["least_squares", "representative", "refit"] | None = None
    reestimate_bn: bool = False
    rule: Rule | None = None

    @field_validator("compensate", mode="before")
    @classmethod
    def _former_name(cls, value: object) -> object:
        # Suites and records written before 0.2 call it "keeper".
        return "representative" if value == "keeper" else value

    @model_validator(mode="after")
    def _rule_is_foads(self) -> CriterionSpec:
        if self.rule is not None and self.name != "foad":
            raise validation_error(field_error(f"only foad has one, not {self.name!r}", "rule"))
        if self.rule is not None and self.settings:
            raise validation_error(field_error("must be empty with a rule, which decides everything", "settings"))
        return self

    @property
    def title(self) -> str:
        """What tables and file names call it."""
        return self.label or self.name
