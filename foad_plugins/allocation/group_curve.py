"""The loss of one coupled group by the number of its channels that are removed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["GroupCurve", "allowed_counts"]


@dataclass(frozen=True)
class GroupCurve:
    """The loss of one coupled group by the number of its channels that are removed.

    Attributes:
        name: the layer whose output channels are counted.
        layers: names of all layers that lose output channels with it, the root first.
        channels: how many of them can be removed; of one part, where there are several.
        parts: the number of equal parts of the channels that lose the same relative indices; 1 for ordinary groups.
        removed: numbers of removed channels, ascending, the points of the curve.
        errors: at each point, the error of the reconstructed channels at the layers that consume them, as a share of
            what these layers make of all channels; on images that the reconstruction was not fitted on.
        losses: at each point, the difference of the model's output, measured or carried from the measured points.
        measured: at each point, whether the loss was measured.
        limit: how many channels may be removed at most, because more give NaN in the model's output; None for no limit.
    """

    name: str
    layers: tuple[str, ...]
    channels: int
    parts: int
    removed: tuple[int, ...]
    errors: tuple[float, ...]
    losses: tuple[float, ...]
    measured: tuple[bool, ...]
    limit: int | None = None

    def loss(self, removed: int) -> float:
        """The loss with some channels removed.

        0 for none, quadratic up to the first point, geometric between the points (curves of loss are close to
        exponential), and beyond the last point as there.
        """
        if removed <= 0:
            return 0.0
        place = bisect_left(self.removed, removed)
        if place == len(self.removed):
            return self.losses[-1] if self.losses else 0.0
        above, high = self.removed[place], self.losses[place]
        if place == 0:
            return high * (removed / above) ** 2
        below, low = self.removed[place - 1], self.losses[place - 1]
        way = (removed - below) / (above - below)
        if low > 0 and high > 0:
            return low * (high / low) ** way
        return low + (high - low) * way

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> GroupCurve:
        """The curve from its fields as JSON holds them.

        Raises:
            KeyError, TypeError, ValueError: fields of another form.
        """
        curve = cls(
            name=str(fields["name"]),
            layers=tuple(map(str, fields["layers"])),
            channels=int(fields["channels"]),
            parts=int(fields["parts"]),
            removed=tuple(map(int, fields["removed"])),
            errors=tuple(map(float, fields["errors"])),
            losses=tuple(map(float, fields["losses"])),
            measured=tuple(map(bool, fields["measured"])),
            limit=None if fields["limit"] is None else int(fields["limit"]),
        )
        if not len(curve.removed) == len(curve.errors) == len(curve.losses) == len(curve.measured):
            raise ValueError(f"points of different number in the curve of {curve.name!r}")
        return curve


def allowed_counts(channels: int, parts: int, round_to: int, most: float, limit: int | None = None) -> list[int]:
    """How many channels of one part may be removed, ascending: all counts that leave an allowed width.

    Args:
        channels: of one part.
        parts: number of parts.
        round_to: the width of all parts together is a multiple of this.
        most: the largest share that may be removed.
        limit: the largest number that may be removed; None for no limit.
    """
    unit = round_to // math.gcd(round_to, parts)
    last = min(channels - 1, math.floor(channels * most + 1e-9), channels if limit is None else limit)
    return [count for count in range(1, last + 1) if (channels - count) % unit == 0]
