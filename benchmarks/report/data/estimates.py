"""A mean over seeds and its confidence interval."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % confidence interval, mean - margin to mean + margin.

    Attributes:
        mean: of the values.
        margin: half the width of the interval by Student's t, which assumes independent values from a normal
            distribution; None for a single value.
        count: how many values, at least 1.
    """

    mean: float
    margin: float | None
    count: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of at least one value.

    Raises:
        statistics.StatisticsError: if there is none.
    """
    count = len(values)
    mean = statistics.fmean(values)
    if count < 2:
        return Estimate(mean, None, count)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
    return Estimate(mean, quantile * statistics.stdev(values) / count**0.5, count)


def estimate_all(values: Sequence[float | None]) -> Estimate | None:
    """The estimate; None if a value is missing or there is none."""
    present = [value for value in values if value is not None]
    return estimate(present) if present and len(present) == len(values) else None
