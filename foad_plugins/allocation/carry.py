"""From the losses measured at a few shares to the whole curve, by the local error of the reconstruction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["POWER", "carried_losses"]

POWER = 1.2
"""How the loss grows with the local error, where one point is measured: loss ~ error to this power."""

# Powers between two measured points; beyond these it is noise of the measurement.
_FLATTEST, _STEEPEST = 0.5, 3.0
_FLOOR = 1e-9
_SMALLEST = 1e-300


def carried_losses(removed: Sequence[int], errors: Sequence[float], measured: Mapping[int, float]) -> list[float]:
    """The loss at every point of a curve.

    The loss of the output grows with the error that the reconstruction leaves at the consumers, as a power of it.
    Between two measured points the power is the one that joins them, and beyond them it is :data:`POWER`.

    Args:
        removed: numbers of removed channels, ascending.
        errors: the local error at each of them, 0 or more.
        measured: the loss at some of them.

    Returns:
        The loss at each, the measured ones as they are. All 0 where nothing was measured.

    Example:
        >>> carried_losses([1, 2, 3], [0.01, 0.02, 0.04], {2: 1.0})  # doctest: +ELLIPSIS
        [0.43..., 1.0, 2.29...]
    """
    if not measured:
        return [0.0] * len(removed)
    known = sorted(measured)
    floor = max(_FLOOR * max(errors), _SMALLEST)
    logs = {count: math.log(max(error, floor)) for count, error in zip(removed, errors, strict=True)}
    return [_carried(count, logs, known, measured) for count in removed]


def _carried(count: int, logs: Mapping[int, float], known: Sequence[int], measured: Mapping[int, float]) -> float:
    if count in measured:
        return measured[count]
    below = [other for other in known if other < count]
    above = [other for other in known if other > count]
    if below and above:
        first, last = below[-1], above[0]
        low, high = measured[first], measured[last]
        span = logs[last] - logs[first]
        if low <= 0 or high <= 0 or span <= 0:
            return low + (high - low) * (count - first) / (last - first)
        power = min(max(math.log(high / low) / span, _FLATTEST), _STEEPEST)
        # From the nearer point in error, so that a clamped power leaves no jump at it.
        nearer = first if logs[count] - logs[first] < logs[last] - logs[count] else last
        return measured[nearer] * math.exp(power * (logs[count] - logs[nearer]))
    nearest = below[-1] if below else above[0]
    return measured[nearest] * math.exp(POWER * (logs[count] - logs[nearest]))
