"""FOAD: channels whose feature maps resemble those of other channels are removed first."""

from __future__ import annotations

from ... import FOADImportance
from .register import CriterionContext, Scorer, register_criterion


@register_criterion("foad", needs_context=True)
def foad(context: CriterionContext, neighbors: int = 1, threshold: float = 0.0, order: str = "rounds") -> Scorer:
    """Redundancy of feature maps (FOAD; Shi et al., 2024), this package's own criterion.

    Args:
        context: gives the calibration images.
        neighbors: the paper's t, at least 1.
        threshold: the paper's s, in [0, 1].
        order: name of the elimination order, ``"rounds"``, ``"backward"`` or ``"reconstruction"``.

    Raises:
        ValueError: if a setting is out of range.
    """
    return FOADImportance(context.images, neighbors=neighbors, threshold=threshold, order=order)
