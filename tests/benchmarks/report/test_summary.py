from __future__ import annotations

import pytest

from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.summary import spread

from ..conftest import MakeRecord


def test_mean_and_sample_deviation() -> None:
    two = spread([0.2, 0.6])
    assert two.mean == pytest.approx(0.4)
    assert two.deviation == pytest.approx(0.08**0.5)
    assert spread([0.7]).deviation is None


def test_a_row_is_the_mean_over_its_seeds(make_record: MakeRecord) -> None:
    records = [make_record(seed=1, accuracy=(0.9, 0.3, 0.7)), make_record(seed=0, accuracy=(0.8, 0.5, 0.9))]
    (board,) = leaderboards(records)
    (row,) = board.rows
    assert row.seeds == (0, 1)
    assert row.base.mean == pytest.approx(0.85)
    assert row.one_shot.mean == pytest.approx(0.4)
    assert row.fine_tuned.mean == pytest.approx(0.8)
    assert row.params == 500
    assert row.params_reduction == pytest.approx(0.75)
    assert row.flops_reduction == pytest.approx(0.75)
    assert row.seconds_to_score.mean == pytest.approx(0.25)


def test_the_best_fine_tuned_row_comes_first_whoever_it_is(make_record: MakeRecord) -> None:
    records = [
        make_record("foad", accuracy=(0.9, 0.9, 0.5)),
        make_record("l1", accuracy=(0.9, 0.1, 0.6)),
        make_record("b", accuracy=(0.9, 0.2, 0.5)),
        make_record("c", accuracy=(0.9, 0.99, None)),
        make_record("a", accuracy=(0.9, 0.2, 0.5)),
    ]
    (board,) = leaderboards(records)
    assert [row.criterion for row in board.rows] == ["l1", "foad", "a", "b", "c"]


def test_fine_tuning_that_some_seeds_lack_has_no_mean(make_record: MakeRecord) -> None:
    (board,) = leaderboards([make_record(), make_record(seed=1, accuracy=(0.9, 0.5, None))])
    assert board.rows[0].fine_tuned is None


def test_setups_are_never_mixed_and_the_newest_comes_first(make_record: MakeRecord) -> None:
    old = make_record(minute=1)
    new = make_record(minute=2, conditions={"flops_reduction": 0.75})
    late = make_record(minute=3, seed=1)
    assert [len(board.rows[0].seeds) for board in leaderboards([old, new])] == [1, 1]
    assert [board.setup for board in leaderboards([old, new])] == [new.inputs.setup, old.inputs.setup]
    assert [board.setup for board in leaderboards([old, new, late])] == [old.inputs.setup, new.inputs.setup]


def test_missing_seeds_are_noticed(make_record: MakeRecord) -> None:
    whole = [make_record("l1", seed=0), make_record("foad", seed=0)]
    assert leaderboards(whole)[0].is_complete
    partial = leaderboards([*whole, make_record("l1", seed=1)])[0]
    assert not partial.is_complete
    assert partial.seeds == (0, 1)


def test_differences_are_taken_seed_by_seed(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "foad"}}
    records = [
        make_record(name, seed=seed, accuracy=(0.9, 0.5, value), **shared)
        for name, values in (("foad", (0.7, 0.8)), ("l1", (0.6, 0.9)))
        for seed, value in enumerate(values)
    ]
    rows = {row.criterion: row for row in leaderboards(records)[0].rows}
    assert rows["foad"].difference is None
    assert rows["l1"].difference.mean == pytest.approx(0.0)
    assert rows["l1"].difference.deviation == pytest.approx(0.02**0.5)
    lacking = {row.criterion: row for row in leaderboards(records[1:])[0].rows}
    assert lacking["l1"].difference is None
    assert all(row.difference is None for row in leaderboards([make_record("foad"), make_record("l1")])[0].rows)


def test_without_fine_tuning_the_last_one_shot_accuracy_counts(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "foad"}}
    records = [
        make_record("foad", accuracy=(0.9, 0.2, None), one_shot_bn=0.6, **shared),
        make_record("l1", accuracy=(0.9, 0.3, None), one_shot_bn=0.5, **shared),
    ]
    board = leaderboards(records)[0]
    assert [row.criterion for row in board.rows] == ["foad", "l1"]
    assert board.rows[1].difference.mean == pytest.approx(-0.1)
    assert board.rows[0].one_shot_bn.mean == 0.6


def test_a_stage_that_some_seeds_lack_has_no_mean(make_record: MakeRecord) -> None:
    (board,) = leaderboards([make_record(one_shot_bn=0.6), make_record(seed=1)])
    assert board.rows[0].one_shot_bn is None


def test_a_criterion_with_and_without_compensation_makes_two_rows_of_one_method(make_record: MakeRecord) -> None:
    entry = {"label": "l1+ls", "compensate": "least_squares"}
    rows = leaderboards([make_record("l1"), make_record("l1", entry=entry), make_record("foad")])[0].rows
    methods = {row.criterion: (row.method, row.compensate) for row in rows}
    assert methods["l1"][0] == methods["l1+ls"][0] != methods["foad"][0]
    assert (methods["l1"][1], methods["l1+ls"][1]) == (None, "least_squares")
