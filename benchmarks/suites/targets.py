"""The size to prune to: a share of the network's cost, or the size at which the published rule stops."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..criteria.spec import Rule
from ..registry.field_errors import field_error, validation_error


class Target(BaseModel):
    """The size that every criterion of a comparison prunes to.

    Attributes:
        flops_reduction: the fraction of the base model's FLOPs to remove; None if FLOPs are no target.
        params_reduction: the same for parameters. With both, layers with many parameters for their FLOPs lose another
            share of their channels than the others.
        operating_point: the FLOPs at which the published rule with these parameters stops, which differ from one set of
            calibration images to the next. Without any target each criterion stops by its own rule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flops_reduction: float | None = Field(default=None, gt=0, lt=1)
    params_reduction: float | None = Field(default=None, gt=0, lt=1)
    operating_point: Rule | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Target:
        if self.operating_point is not None and not (self.flops_reduction is None and self.params_reduction is None):
            message = "cannot be combined with another target, since it defines a FLOPs target"
            raise validation_error(field_error(message, "operating_point"))
        return self

    @property
    def is_free(self) -> bool:
        """Whether every criterion stops by its own rule."""
        return self == Target()

    def __str__(self) -> str:
        if self.operating_point is not None:
            rule = self.operating_point
            return f"FLOPs of the published rule, t={rule.neighbors} and s={rule.threshold:g}"
        asked = {"FLOPs": self.flops_reduction, "params": self.params_reduction}
        shares = [f"{name} -{100 * share:.4g}%" for name, share in asked.items() if share is not None]
        return " and ".join(shares) or "where each criterion's own rule stops"
