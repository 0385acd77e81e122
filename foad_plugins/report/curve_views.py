"""Sensitivity curves as the small pictures of a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..allocation.group_curve import GroupCurve
from .data import GroupReport

__all__ = ["CurveView", "curve_views"]

WIDTH, HEIGHT = 120.0, 70.0
_DECADES = 6.0


@dataclass(frozen=True)
class CurveView:
    """One curve in a box of 120 times 70, the share removed from left to right and the loss upwards.

    Attributes:
        name: of the group.
        channels: of the group, all parts together.
        removed: how many of them are removed.
        loss: the loss there.
        line: the points of the curve, as an SVG polyline takes them.
        measured: the points that were measured.
        chosen: where the curve is at the channels that were removed; None if none were.
    """

    name: str
    channels: int
    removed: int
    loss: float
    line: str
    measured: list[tuple[float, float]]
    chosen: tuple[float, float] | None


def curve_views(groups: Sequence[GroupReport]) -> list[CurveView]:
    """The curves of all groups on one logarithmic scale; empty where no sensitivity was measured."""
    known = [(group, group.curve) for group in groups if group.curve is not None]
    highest = max((loss for _, curve in known for loss in curve.losses), default=0.0) or 1.0
    return [_view(group, curve, highest) for group, curve in known]


def _view(group: GroupReport, curve: GroupCurve, highest: float) -> CurveView:
    count = len(group.selection.removed)

    def point(removed: int, loss: float) -> tuple[float, float]:
        # Six decades below the highest loss are all that can be told apart.
        height = max(0.0, 1 + math.log10(loss / highest) / _DECADES) if loss > 0 else 0.0
        return round(WIDTH * removed / curve.channels, 1), round(HEIGHT * (1 - height), 1)

    points = [point(removed, loss) for removed, loss in zip(curve.removed, curve.losses, strict=True)]
    return CurveView(
        name=group.name,
        channels=curve.channels * curve.parts,
        removed=count * curve.parts,
        loss=curve.loss(count),
        line=" ".join(f"{x},{y}" for x, y in points),
        measured=[place for place, measured in zip(points, curve.measured, strict=True) if measured],
        chosen=point(count, curve.loss(count)) if count else None,
    )
