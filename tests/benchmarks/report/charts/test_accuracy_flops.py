from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from foad_plugins.benchmarks.records.schema import Cost
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.charts.accuracy_flops import (
    AccuracyFlops,
    accuracy_flops,
    accuracy_flops_figures,
    accuracy_flops_png,
)
from foad_plugins.benchmarks.report.charts.style import series_styles
from foad_plugins.benchmarks.suites.targets import Target

from ...conftest import MakeRecord


def data_of(*records: object) -> dict[str, AccuracyFlops]:
    boards = leaderboards(records)
    return {data.stage: data for data in accuracy_flops(boards, series_styles(boards))}


def points(data: AccuracyFlops) -> dict[str, list[tuple[float, float]]]:
    return {series.name: list(zip(series.x, series.y, strict=True)) for series in data.series}


def test_points_are_where_the_records_have_them(make_record: MakeRecord) -> None:
    found = data_of(make_record("l1", accuracy=(0.9, 0.3, 0.7), one_shot_bn=0.5))
    assert {stage: points(data) for stage, data in found.items()} == {
        "before fine-tuning": {"l1": [(1.0, 30.0)]},
        "BN adjusted": {"l1": [(1.0, 50.0)]},
        "fine-tuned": {"l1": [(1.0, 70.0)]},
    }
    assert found["fine-tuned"].base.mean == 0.9


def test_points_at_equal_flops_have_equal_positions(make_record: MakeRecord) -> None:
    records = [make_record(name, accuracy=(0.9, 0.5, 0.7)) for name in ("l1", "foad", "chip")]
    data = data_of(*records)["fine-tuned"]
    assert points(data) == {name: [(1.0, 70.0)] for name in ("chip", "foad", "l1")}
    # The base has 4 MFLOPs.
    assert data.x_limits == pytest.approx((1 - 0.24, 1 + 0.24))


def test_intervals_are_over_seeds(make_record: MakeRecord) -> None:
    records = [make_record("l1", seed, accuracy=(0.9, 0.5, 0.7 + seed / 10)) for seed in range(2)]
    (series,) = data_of(*records)["fine-tuned"].series
    # Student's t for one degree of freedom is 12.706, and the standard error is 5 points.
    assert series.y == pytest.approx((75.0,))
    assert series.y_margin == pytest.approx((63.53,), abs=0.01)


def test_targets_are_points_of_one_line(make_record: MakeRecord) -> None:
    records = [
        make_record(
            "l1",
            conditions={"target": Target(flops_reduction=reduction)},
            after=Cost(params=500, flops=int(4e6 * (1 - reduction)), widths={"conv": 4}),
        )
        for reduction in (0.4, 0.75)
    ]
    assert points(data_of(*records)["fine-tuned"]) == {"l1": [(1.0, 80.0), (2.4, 80.0)]}


def test_a_missing_value_has_no_point_but_a_name_marked_where_seeds_lack(make_record: MakeRecord) -> None:
    records = [make_record("foad", seed) for seed in range(2)] + [make_record("l1", accuracy=(0.9, 0.3, None))]
    assert {name: len(found) for name, found in points(data_of(*records)["fine-tuned"]).items()} == {
        "foad": 1,
        "l1 †": 0,
    }


def test_both_pictures_show_the_data(make_record: MakeRecord) -> None:
    boards = leaderboards([make_record("foad", accuracy=(0.9, 0.3, None)), make_record("l1")])
    pixels = imread(io.BytesIO(accuracy_flops_png(boards[0], series_styles(boards))))
    assert pixels.shape[:2] == (660, 1800)
    assert 0.01 < np.mean(pixels[..., :3].min(-1) < 0.9) < 0.5
    last, first = accuracy_flops_figures(boards, series_styles(boards))
    assert [trace["name"] for trace in last["plot"]["data"]] == ["l1"]
    assert [(trace["name"], trace["x"], trace["y"]) for trace in first["plot"]["data"]] == [
        ("foad", [1.0], [30.0]),
        ("l1", [1.0], [50.0]),
    ]
