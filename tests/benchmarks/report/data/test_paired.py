from __future__ import annotations

from math import comb

import numpy as np
import pytest

from foad_plugins.benchmarks.report.data.paired import compare_pairs


def flags(*parts: tuple[bool, int]) -> np.ndarray:
    return np.concatenate([np.full(count, value) for value, count in parts])


def by_hand(better: int, worse: int) -> float:
    """Two-sided sign test, summed term by term."""
    count = better + worse
    chances = [comb(count, k) / 2**count for k in range(count + 1)]
    return min(1.0, sum(chance for chance in chances if chance <= chances[better] * (1 + 1e-7)))


def test_counts_of_disagreement_decide_the_p_value() -> None:
    own = flags((True, 900), (True, 12), (False, 3), (False, 85))
    reference = flags((True, 900), (False, 12), (True, 3), (False, 85))
    found = compare_pairs([own], [reference])
    assert found.p_values == (pytest.approx(by_hand(12, 3)),)
    assert found.difference == pytest.approx(9 / 1000)
    assert found.items == 1000
    assert compare_pairs([reference], [own]).difference == -found.difference


def test_the_interval_is_that_of_items_drawn_with_replacement() -> None:
    random = np.random.default_rng(0)
    own = [random.random(400) < 0.9 for _ in range(3)]
    reference = [random.random(400) < 0.85 for _ in range(3)]
    difference = (np.stack(own).astype(int) - np.stack(reference).astype(int)).mean(0)
    means = [difference[random.integers(0, 400, 400)].mean() for _ in range(4000)]
    found = compare_pairs(own, reference)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.003)
    assert found.low < found.difference < found.high
    assert len(found.p_values) == 3


def test_equal_judgements() -> None:
    same = flags((True, 9), (False, 1))
    found = compare_pairs([same, same], [same, same])
    assert (found.difference, found.low, found.high, found.p_values) == (0, 0, 0, (1, 1))


def test_the_same_every_time() -> None:
    random = np.random.default_rng(1)
    own, reference = (random.random(100) < 0.8 for _ in range(2))
    assert compare_pairs([own], [reference]) == compare_pairs([own], [reference])


@pytest.mark.parametrize(
    ("own", "reference"), [([], []), ([np.ones(3, bool)], []), ([np.ones(3, bool)], [np.ones(4, bool)])]
)
def test_what_does_not_belong_together(own: list[np.ndarray], reference: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="equally many seeds and items"):
        compare_pairs(own, reference)
