from __future__ import annotations

import pytest

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.records.schema import BestEpoch, Cost, Latency
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.suites.targets import Target
from foad_plugins.benchmarks.training.train import Epoch

from ...conftest import MakeRecord
from ..conftest import MakeFailure


def target(share: float) -> dict[str, Target]:
    return {"target": Target(flops_reduction=share)}


def test_a_row_is_the_mean_over_its_seeds(make_record: MakeRecord) -> None:
    records = [make_record(seed=1, accuracy=(0.9, 0.3, 0.7)), make_record(seed=0, accuracy=(0.8, 0.5, 0.9))]
    (board,) = leaderboards(records)
    (row,) = board.rows
    assert row.seeds == (0, 1)
    assert [run.inputs.seed for run in row.runs] == [0, 1]
    assert row.base.mean == pytest.approx(0.85)
    assert row.one_shot.mean == pytest.approx(0.4)
    assert row.fine_tuned.mean == pytest.approx(0.8)
    # Values 0.7 and 0.9: a standard error of 0.1, and the quantile of t with one degree of freedom.
    assert row.fine_tuned.margin == pytest.approx(1.2706, rel=1e-3)
    assert row.params.mean == 500
    assert row.params_reduction.mean == pytest.approx(0.75)
    assert row.flops_reduction.mean == pytest.approx(0.75)
    assert row.seconds_to_score.mean == pytest.approx(0.25)
    assert (row.base_params, row.base_flops) == (2000, 4_000_000)


def test_what_runs_measured_besides(make_record: MakeRecord) -> None:
    records = [
        make_record(
            seed=seed,
            latency=(
                Latency(batch_size=128, threads=1, before=0.4, after=0.1),
                Latency(batch_size=1, threads=1, before=0.2, after=0.1 * (seed + 1)),
            ),
            peak_bytes_to_score=1000 * (seed + 1),
            removed={"conv": (0, 1, 2, 3)[: seed + 1]},
            after=Cost(params=500, flops=1_000_000, widths={"conv": 7 - seed}),
            epochs=tuple(Epoch(train_loss=1.0, test_accuracy=0.1 * (n + seed), seconds=1.0) for n in range(2)),
        )
        for seed in range(2)
    ]
    (row,) = leaderboards(records)[0].rows
    assert [timed.batch_size for timed in row.latency] == [1, 128]
    assert row.latency[0].after.mean == pytest.approx(0.15)
    assert row.latency[0].speedup.mean == pytest.approx(1.5)
    assert row.peak_bytes_to_score.mean == 1500
    assert (row.channels, row.channels_kept.mean) == (8, 6.5)
    assert row.widths == {"conv": 6.5}
    assert [epoch.mean for epoch in row.curve] == pytest.approx([0.05, 0.15])
    (plain,) = leaderboards([make_record()])[0].rows
    assert (plain.latency, plain.curve) == ((), ())
    assert plain.peak_bytes_to_score is plain.channels is plain.channels_kept is None


def test_what_one_seed_lacks_has_no_mean(make_record: MakeRecord) -> None:
    epoch = Epoch(train_loss=1.0, test_accuracy=0.5, seconds=1.0)
    more = {
        "one_shot_bn": 0.6,
        "latency": (Latency(batch_size=1, threads=1, before=0.4, after=0.1),),
        "peak_bytes_to_score": 5,
        "removed": {"conv": (1,)},
        "epochs": (epoch,),
    }
    (board,) = leaderboards([make_record(**more), make_record(seed=1, accuracy=(0.9, 0.5, None))])
    (row,) = board.rows
    assert row.one_shot_bn is row.fine_tuned is row.peak_bytes_to_score is row.channels_kept is None
    assert (row.latency, row.curve) == ((), ())


def test_a_root_that_is_no_layer_leaves_the_number_of_channels_open(make_record: MakeRecord) -> None:
    (row,) = leaderboards([make_record(removed={"token": (1,)})])[0].rows
    assert row.channels is row.channels_kept is None


def test_the_best_epoch_stands_beside_the_last(make_record: MakeRecord) -> None:
    record = make_record()
    best = record.accuracy.model_copy(update={"best_epoch": BestEpoch(epoch=2, accuracy=0.85)})
    (row,) = leaderboards([record.model_copy(update={"accuracy": best})])[0].rows
    assert (row.fine_tuned.mean, row.best_epoch.mean) == (0.8, 0.85)
    assert row.last == row.fine_tuned


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


def test_rows_that_lack_seeds_stand_behind_the_others(make_record: MakeRecord) -> None:
    whole = [make_record("l1", seed=seed, accuracy=(0.9, 0.1, 0.2)) for seed in range(2)]
    partial = make_record("foad", seed=1, accuracy=(0.9, 0.8, 0.9))
    assert leaderboards(whole)[0].is_complete
    (board,) = leaderboards([*whole, partial])
    assert [(row.criterion, row.missing) for row in board.rows] == [("l1", ()), ("foad", (0,))]
    assert not board.is_complete
    assert board.seeds == (0, 1)


def test_targets_and_rankings_of_one_suite_follow_each_other(make_record: MakeRecord) -> None:
    rule = {"target": Target(operating_point=Rule())}
    records = [
        make_record(minute=1, setup={"ranking": "isomorphic"}),
        make_record(minute=9, conditions={**rule}),
        make_record(minute=2, setup={"ranking": "global"}),
        make_record(minute=3, conditions=target(0.75)),
        make_record(minute=4),
        make_record(minute=5, conditions={"tolerance": 0.5}),
        make_record(minute=10, conditions={"tolerance": 0.6}),
    ]
    boards = leaderboards(records)
    assert [board.title for board in boards] == [
        "tiny: FLOPs -40%, local ranking",
        "tiny: FLOPs -40%, local ranking",
        "tiny: FLOPs -40%, global ranking",
        "tiny: FLOPs -40%, isomorphic ranking",
        "tiny: FLOPs -75%, local ranking",
        "tiny: FLOPs of the published rule, t=1 and s=0, local ranking",
        "tiny: FLOPs -40%, local ranking",
    ]
    assert [board.setup.conditions.tolerance for board in boards] == [0.6, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5]


def test_titles_say_what_a_table_is(make_record: MakeRecord) -> None:
    (smoke,) = leaderboards([make_record(conditions={"limit_steps": 2})])
    assert smoke.is_smoke
    assert smoke.title == "tiny: FLOPs -40%, local ranking (smoke run, no measurement)"
    (ablation,) = leaderboards([make_record(setup={"kind": "ablation"}, conditions={"target": Target()})])
    assert ablation.title == "tiny: where each criterion's own rule stops"


def test_failures_count_as_missing_unless_a_record_came_after(
    make_record: MakeRecord, make_failure: MakeFailure
) -> None:
    records = [make_record("l1", seed=0), make_record("foad", seed=0)]
    failures = [
        make_failure("foad", seed=1, reason="no"),
        make_failure("chip", seed=0),
        make_failure("l1", seed=0, reason="stale"),
        make_failure("l1", seed=5, setup={"ranking": "global"}),
    ]
    (board,) = leaderboards(records, failures)
    assert [(f.inputs.criterion.title, f.inputs.seed) for f in board.failures] == [("chip", 0), ("foad", 1)]
    assert board.without_result == ("chip",)
    assert board.seeds == (0, 1)
    assert {row.criterion: row.missing for row in board.rows} == {"l1": (1,), "foad": (1,)}
    assert not board.is_complete


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
    assert rows["l1"].difference.margin == pytest.approx(1.2706, rel=1e-3)
    # What the pairs share does not count: unpaired, these would not be told apart.
    steady = [
        make_record(name, seed=seed, accuracy=(0.9, 0.5, 0.3 * seed + more), **shared)
        for name, more in (("foad", 0.1), ("l1", 0.2))
        for seed in range(3)
    ]
    difference = {row.criterion: row.difference for row in leaderboards(steady)[0].rows}["l1"]
    assert difference.mean == pytest.approx(0.1)
    assert difference.margin == pytest.approx(0, abs=1e-9)
    assert all(row.difference is None for row in leaderboards([make_record("foad"), make_record("l1")])[0].rows)


def test_differences_are_over_the_seeds_that_both_have(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "foad"}}
    records = [make_record("l1", seed=seed, accuracy=(0.9, 0.5, 0.6), **shared) for seed in range(3)]
    records += [make_record("foad", seed=1, accuracy=(0.9, 0.5, 0.5), **shared)]
    difference = {row.criterion: row.difference for row in leaderboards(records)[0].rows}["l1"]
    assert (difference.count, difference.margin) == (1, None)
    assert difference.mean == pytest.approx(0.1)
    other = make_record("fpgm", seed=7, **shared)
    assert {row.criterion: row.difference for row in leaderboards([*records, other])[0].rows}["fpgm"] is None


def test_of_two_versions_of_the_reference_the_later_one_counts(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "foad"}}
    records = [make_record("l1", seed=seed, accuracy=(0.9, 0.5, 0.6), **shared) for seed in range(2)]
    earlier = {"settings": {"neighbors": 2}}
    records += [make_record("foad", seed=seed, accuracy=(0.9, 0.5, 0.1), entry=earlier, **shared) for seed in range(2)]
    records += [make_record("foad", seed=0, accuracy=(0.9, 0.5, 0.5), minute=1, **shared)]
    for order in (records, records[::-1]):
        (difference,) = [row.difference for row in leaderboards(order)[0].rows if row.criterion == "l1"]
        assert (difference.mean, difference.count) == (pytest.approx(0.1), 1)


def test_without_fine_tuning_the_last_one_shot_accuracy_counts(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "foad"}}
    records = [
        make_record("foad", accuracy=(0.9, 0.2, None), one_shot_bn=0.6, **shared),
        make_record("l1", accuracy=(0.9, 0.3, None), one_shot_bn=0.5, **shared),
    ]
    board = leaderboards(records)[0]
    assert [row.criterion for row in board.rows] == ["foad", "l1"]
    assert board.rows[1].difference.mean == pytest.approx(-0.1)
    assert board.rows[0].last == board.rows[0].one_shot_bn


def test_a_criterion_with_and_without_compensation_makes_two_rows_of_one_method(make_record: MakeRecord) -> None:
    entry = {"label": "l1+ls", "compensate": "least_squares"}
    rows = leaderboards([make_record("l1"), make_record("l1", entry=entry), make_record("foad")])[0].rows
    methods = {row.criterion: (row.method, row.compensate) for row in rows}
    assert methods["l1"][0] == methods["l1+ls"][0] != methods["foad"][0]
    assert (methods["l1"][1], methods["l1+ls"][1]) == (None, "least_squares")


def test_a_rule_makes_a_method_of_its_own(make_record: MakeRecord) -> None:
    entries = [{"label": f"t={t}", "rule": Rule(neighbors=t)} for t in (1, 2)]
    rows = leaderboards([make_record("foad", entry=entry) for entry in entries])[0].rows
    assert [row.rule.neighbors for row in rows] == [1, 2]
    assert rows[0].method != rows[1].method


def test_widths_differ_or_not(make_record: MakeRecord) -> None:
    wide = make_record("l1", after=Cost(params=500, flops=1_000_000, widths={"conv": 5}))
    assert not leaderboards([make_record("foad")])[0].widths_differ
    assert leaderboards([make_record("foad"), wide])[0].widths_differ
