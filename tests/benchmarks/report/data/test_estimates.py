from __future__ import annotations

import statistics

import pytest

from foad_plugins.benchmarks.report import estimate
from foad_plugins.benchmarks.report.data.estimates import estimate_all

# 97.5 % quantiles of Student's t, from a printed table.
QUANTILES = {2: 12.706, 3: 4.303, 5: 2.776}


@pytest.mark.parametrize("count", QUANTILES)
def test_the_margin_is_students(count: int) -> None:
    values = [0.1 * number**2 for number in range(count)]
    found = estimate(values)
    assert found.mean == pytest.approx(sum(values) / count)
    assert found.margin == pytest.approx(QUANTILES[count] * statistics.stdev(values) / count**0.5, rel=1e-3)
    assert found.count == count


def test_one_value_has_no_margin_and_equal_ones_have_a_margin_of_nothing() -> None:
    assert estimate([0.7]).margin is None
    assert estimate([0.7, 0.7, 0.7]).margin == 0
    with pytest.raises(statistics.StatisticsError):
        estimate([])


def test_a_missing_value_leaves_no_estimate() -> None:
    assert estimate_all([0.5, None]) is None
    assert estimate_all([]) is None
    found = estimate_all([0.5, 0.7])
    assert found is not None
    assert found.mean == pytest.approx(0.6)
