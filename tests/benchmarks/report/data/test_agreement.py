from __future__ import annotations

from itertools import combinations

import pytest

from foad_plugins.benchmarks.records.schema import Cost
from foad_plugins.benchmarks.report.data.agreement import agreement, chance_overlap, overlap

from ...conftest import MakeRecord


def test_intersection_over_union() -> None:
    assert overlap((1, 2, 3), (3, 2, 4)) == 0.5
    assert overlap((1,), (2,)) == 0
    assert overlap((1, 2), [2, 1]) == 1
    assert overlap((), (1,)) == 0
    assert overlap((), ()) == 1


@pytest.mark.parametrize(
    ("width", "first", "second"), [(6, 3, 3), (6, 1, 4), (7, 5, 4), (5, 0, 2), (5, 5, 5), (4, 0, 0)]
)
def test_chance_is_the_mean_over_all_selections(width: int, first: int, second: int) -> None:
    values = [
        overlap(one, other) for one in combinations(range(width), first) for other in combinations(range(width), second)
    ]
    assert chance_overlap(width, first, second) == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize(("first", "second"), [(5, 1), (1, 5), (-1, 1)])
def test_more_than_there_are_cannot_be_chosen(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="0 to width"):
        chance_overlap(4, first, second)


def test_layers_and_pairs_count_alike(make_record: MakeRecord) -> None:
    before = Cost(params=2000, flops=4_000_000, widths={"a": 4, "b": 40})
    runs = [
        make_record(seed=seed, before=before, removed=removed)
        for seed, removed in enumerate(({"a": (0, 1), "b": (1,)}, {"a": (0, 1), "b": (2,)}, {"a": (2, 3), "b": (1,)}))
    ]
    found = agreement(list(combinations(runs, 2)))
    assert found is not None
    assert found.pairs == 3
    assert found.by_layer["a"][0] == pytest.approx(1 / 3)
    assert found.by_layer["b"][0] == pytest.approx(1 / 3)
    assert found.by_layer["b"][1] == pytest.approx(1 / 40)
    assert found.overlap == pytest.approx(1 / 3)
    # Of two from four, 1 of 6 times both, 4 of 6 times one of three, else none.
    assert found.chance == pytest.approx(((1 / 6 + 4 / 6 / 3) + 1 / 40) / 2)


def test_a_layer_of_which_one_run_removes_nothing(make_record: MakeRecord) -> None:
    found = agreement([(make_record(removed={"conv": ()}), make_record(removed={"conv": ()}))])
    assert found is not None
    assert (found.overlap, found.chance) == (1, 1)
    found = agreement([(make_record(removed={"conv": (1,)}), make_record(removed={}))])
    assert found is not None
    assert (found.overlap, found.chance) == (0, 0)


def test_what_was_not_kept_cannot_be_compared(make_record: MakeRecord) -> None:
    known = make_record(removed={"conv": (1,)})
    assert agreement([(known, known), (known, make_record())]) is None
    assert agreement([]) is None
    assert agreement([(make_record(removed={}), make_record(removed={}))]) is None
