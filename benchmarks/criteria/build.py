"""From a criterion's name and settings to something that scores Torch-Pruning's groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from pydantic import Field, model_validator

from ..mistakes import mistake, refusal
from ..registry import FactoryRegistry, Spec
from ..targets import Rule
from .context import CriterionContext
from .factories import as_factory

__all__ = ["CRITERIA", "CriterionContext", "CriterionSpec", "Scorer", "build_criterion", "register_criterion"]

C = TypeVar("C", bound=Callable[..., Any])

Scorer: TypeAlias = Callable[[Any], "torch.Tensor | None"]
"""Torch-Pruning's contract: a coupled group in, a score for each channel out (low goes first), or None."""


class CriterionSpec(Spec):
    """An entry of a comparison: a criterion and what follows the removal.

    Attributes:
        label: what tables call it; its name, if left empty.
        compensate: how the layers that read removed channels take over, as for :func:`~foad_plugins.prune`.
        reestimate_bn: whether the statistics of batch normalisation are moved by the calibration images.
        rule: the published rule decides how many channels go, with these parameters, and no target does; only for
            ``foad``, which then takes no settings.
    """

    label: str = Field(default="", max_length=60)
    compensate: Literal["least_squares", "keeper"] | None = None
    reestimate_bn: bool = False
    rule: Rule | None = None

    @model_validator(mode="after")
    def _rule_is_foads(self) -> CriterionSpec:
        if self.rule is not None and self.name != "foad":
            raise refusal(mistake(f"only foad has one, not {self.name!r}", "rule"))
        if self.rule is not None and self.settings:
            raise refusal(mistake("must be none with a rule, which says all", "settings"))
        return self

    @property
    def title(self) -> str:
        """What tables and file names call it."""
        return self.label or self.name


CRITERIA: FactoryRegistry[Scorer] = FactoryRegistry("criterion", given=1)


def register_criterion(name: str) -> Callable[[C], C]:
    """Decorator that adds a criterion of one's own to suites, and to what ``foad-bench list`` shows.

    A function of a group that scores its channels is enough; low goes first. Parameters behind the group are settings
    that a suite may give, and the first line of the docstring is what lists show:

        >>> import torch
        >>> from foad_plugins.benchmarks.criteria import register_criterion
        >>> @register_criterion("loudest-weight")
        ... def loudest_weight(group, power: float = 1.0) -> torch.Tensor:
        ...     '''Largest weight of each filter of the group's first layer.'''
        ...     item = group[0]
        ...     filters = item.dep.layer.weight.detach()[item.idxs].flatten(1)
        ...     return filters.abs().amax(1) ** power

    A class of Torch-Pruning's ``Importance`` is taken as it is, its parameters being the settings. What needs images,
    labels or the seed is a factory ``(context: CriterionContext, **settings) -> scorer``, a function or a class; see
    :func:`~foad_plugins.benchmarks.criteria.factories.as_factory` for how these are told apart.

    Args:
        name: what suites call it.

    Raises:
        TypeError: if it cannot be told what the function or class expects.
        ValueError: if the name is empty or taken.
    """

    def add(criterion: C) -> C:
        CRITERIA.add(name, as_factory(criterion))
        return criterion

    return add


def build_criterion(spec: Spec, context: CriterionContext) -> Scorer:
    """The criterion that ``spec`` names, ready to score.

    Raises:
        UnknownNameError: if no criterion has that name.
        SettingsError: a ValueError, if a setting is unknown or out of range.
    """
    return CRITERIA.make(spec, context)
