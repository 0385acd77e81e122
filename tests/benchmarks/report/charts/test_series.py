"""The data of the charts that only the page shows."""

from __future__ import annotations

import pytest

from foad_plugins.benchmarks.records.schema import Cost
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.charts.fine_tuning import fine_tuning_series
from foad_plugins.benchmarks.report.charts.one_shot import one_shot_series
from foad_plugins.benchmarks.report.charts.scoring_cost import scoring_cost_series
from foad_plugins.benchmarks.report.charts.series import Series, short_names
from foad_plugins.benchmarks.report.charts.style import series_styles
from foad_plugins.benchmarks.report.charts.widths import widths_figure, widths_grid
from foad_plugins.benchmarks.training.train import Epoch

from ...conftest import MakeRecord


def points(series: list[Series]) -> dict[str, list[tuple[float, float]]]:
    return {one.name: list(zip(one.x, one.y, strict=True)) for one in series}


def test_the_last_stage_over_the_first(make_record: MakeRecord) -> None:
    records = [make_record("l1", accuracy=(0.9, 0.3, 0.7), one_shot_bn=0.5), make_record("foad", one_shot_bn=0.6)]
    (board,) = leaderboards(records)
    assert points(one_shot_series(board, series_styles([board]))) == {"foad": [(50.0, 80.0)], "l1": [(30.0, 70.0)]}
    (board,) = leaderboards([make_record(accuracy=(0.9, 0.3, None))])
    assert one_shot_series(board, series_styles([board])) == []


def test_a_point_for_each_epoch(make_record: MakeRecord) -> None:
    def epochs(*accuracies: float) -> tuple[Epoch, ...]:
        return tuple(Epoch(train_loss=1 - value, test_accuracy=value, seconds=1.0) for value in accuracies)

    records = [make_record("l1", 0, epochs=epochs(0.5, 0.7)), make_record("l1", 1, epochs=epochs(0.6, 0.7))]
    (board,) = leaderboards([*records, make_record("foad", 0), make_record("foad", 1)])
    styles = series_styles([board])
    accuracy, loss = (points(fine_tuning_series(board, styles, kind)) for kind in ("accuracy", "loss"))
    assert accuracy == {"l1": [(1, pytest.approx(55)), (2, pytest.approx(70))]}
    assert loss == {"l1": [(1, pytest.approx(0.45)), (2, pytest.approx(0.3))]}


def test_the_cheapest_to_score_is_last_and_nothing_has_no_point(make_record: MakeRecord) -> None:
    records = [
        make_record(name, seconds_to_score=seconds, peak_bytes_to_score=1_000_000)
        for name, seconds in (("slow", 20.0), ("quick", 0.01), ("none", 0.0))
    ]
    (board,) = leaderboards(records)
    styles = series_styles([board])
    assert points(scoring_cost_series(board, styles, "time")) == {"slow": [(20.0, 0)], "quick": [(0.01, 1)]}
    memory = points(scoring_cost_series(board, styles, "memory"))
    assert memory == {"none": [(1.0, 0)], "quick": [(1.0, 1)], "slow": [(1.0, 2)]}
    (board,) = leaderboards([make_record()])
    assert scoring_cost_series(board, series_styles([board]), "memory") == []


def test_the_layers_that_some_criterion_prunes(make_record: MakeRecord) -> None:
    before = {"net.1.conv": 8, "net.2.conv": 10, "net.3.conv": 4}
    records = [
        make_record(
            name,
            before=Cost(params=2000, flops=4_000_000, widths=before),
            after=Cost(params=500, flops=1_000_000, widths={**before, "net.1.conv": one, "net.3.conv": three}),
        )
        for name, one, three in (("a", 4, 4), ("b", 6, 1))
    ]
    (board,) = leaderboards(records)
    grid = widths_grid(board)
    assert (grid.rows, grid.columns) == (("b", "a"), ("net.1.conv", "net.3.conv"))
    assert grid.values == ((0.75, 0.25), (0.5, 1.0))
    assert grid.hover[0][0] == "<b>b</b><br>net.1.conv<br>6 of 8 channels"
    figure = widths_figure(board)
    assert figure is not None
    assert figure["plot"]["layout"]["xaxis"]["ticktext"] == ["1", "3"]


def test_names_without_what_all_share() -> None:
    assert short_names(["f.a.0", "f.b.0"]) == ["a", "b"]
    assert short_names(["f.a", "f.a.1"]) == ["a", "a.1"]
    assert short_names(["f.a"]) == ["f.a"]
    assert short_names([]) == []
