"""From a criterion's name and settings to something that scores Torch-Pruning's groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from pydantic import Field

from ..registry import FactoryRegistry, Spec
from .context import CriterionContext

__all__ = ["CRITERIA", "CriterionContext", "CriterionSpec", "Scorer", "build_criterion", "register_criterion"]

Scorer: TypeAlias = Callable[[Any], "torch.Tensor | None"]
"""Torch-Pruning's contract: a coupled group in, a score for each channel out (low goes first), or None."""


class CriterionSpec(Spec):
    """An entry of a comparison: a criterion and what follows the removal.

    Attributes:
        label: what tables call it; its name, if left empty.
        compensate: how the layers that read removed channels take over, as for :func:`~foad_plugins.prune`.
        reestimate_bn: whether the statistics of batch normalisation are moved by the calibration images.
    """

    label: str = Field(default="", max_length=60)
    compensate: Literal["least_squares", "keeper"] | None = None
    reestimate_bn: bool = False

    @property
    def title(self) -> str:
        """What tables and file names call it."""
        return self.label or self.name


CRITERIA: FactoryRegistry[Scorer] = FactoryRegistry("criterion", given=1)

register_criterion = CRITERIA.register
"""Decorator ``@register_criterion("name")`` for a factory ``(context, **settings)`` of a scorer.

A class whose ``__init__`` takes the context is such a factory. The first line of its docstring is what
``foad-bench list`` shows::

    @register_criterion("filter-l2")
    class FilterL2:
        '''L2-norm of the filters of a group's first layer.'''

        def __init__(self, context: CriterionContext) -> None: ...

        def __call__(self, group: tp.Group) -> torch.Tensor:
            return group[0].dep.layer.weight.detach().flatten(1).norm(dim=1)
"""


def build_criterion(spec: Spec, context: CriterionContext) -> Scorer:
    """The criterion that ``spec`` names, ready to score.

    Raises:
        UnknownNameError: if no criterion has that name.
        SettingsError: a ValueError, if a setting is unknown or out of range.
    """
    return CRITERIA.make(spec, context)
