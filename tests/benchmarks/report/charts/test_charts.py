from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from foad_plugins.benchmarks.records.schema import Cost
from foad_plugins.benchmarks.report import Estimate, Leaderboard, leaderboards
from foad_plugins.benchmarks.report.charts.accuracy_flops import accuracy_over_flops
from foad_plugins.benchmarks.report.charts.fine_tuning import curves
from foad_plugins.benchmarks.report.charts.one_shot import one_shot_against_fine_tuned
from foad_plugins.benchmarks.report.charts.scoring_cost import score_times
from foad_plugins.benchmarks.report.charts.style import percent_limits, series_look, short_names
from foad_plugins.benchmarks.report.charts.widths import widths
from foad_plugins.benchmarks.training.train import Epoch

from ...conftest import MakeRecord


def epochs(*accuracies: float) -> tuple[Epoch, ...]:
    return tuple(Epoch(train_loss=1.0, test_accuracy=value, seconds=1.0) for value in accuracies)


@pytest.mark.parametrize("plot", [accuracy_over_flops, curves, one_shot_against_fine_tuned, score_times, widths])
def test_any_board_makes_the_same_picture_twice(plot: Callable[[Leaderboard], bytes], make_record: MakeRecord) -> None:
    records = [
        make_record(f"entry{number}", seed=seed, seconds_to_score=0.0, peak_bytes_to_score=0)
        for number in range(14)
        for seed in range(2)
    ]
    board = leaderboards(records)[0]
    picture = plot(board)
    assert picture == plot(board)
    assert imread(io.BytesIO(picture)).shape[0] > 400


@pytest.mark.parametrize("plot", [accuracy_over_flops, curves, one_shot_against_fine_tuned, score_times, widths])
def test_names_are_written_as_they_are(
    plot: Callable[[Leaderboard], bytes], make_record: MakeRecord, figures: list[Figure]
) -> None:
    names = ["_mine", r"$\no$ mathematics", "5 $ or 6 $"]
    plot(leaderboards([make_record("l1", entry={"label": name}) for name in names])[0])
    axes, legends = figures[0].axes[0], figures[0].legends
    texts = legends[0].get_texts() if legends else axes.get_yticklabels()
    found = [text.get_text().replace(r"\$", "$").strip() for text in texts]
    assert set(names) <= set(found)


def test_many_series_look_different() -> None:
    looks = {(look.color, look.marker) for look in map(series_look, range(40))}
    assert len(looks) == 40


def test_one_shot_against_fine_tuned(make_record: MakeRecord, figures: list[Figure]) -> None:
    records = [make_record("l1", accuracy=(0.9, 0.3, 0.7), one_shot_bn=0.5), make_record("foad", one_shot_bn=0.6)]
    one_shot_against_fine_tuned(leaderboards(records)[0])
    first, second = figures[0].axes
    handles, labels = first.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    assert found["l1"][0].get_xydata().tolist() == [[30, 70]]
    assert second.get_xlabel() == "one-shot, BN statistics moved accuracy (%)"


def test_a_curve_has_a_point_for_each_epoch(make_record: MakeRecord, figures: list[Figure]) -> None:
    records = [make_record("l1", epochs=epochs(0.5, 0.7)), make_record("foad")]
    curves(leaderboards(records)[0])
    lines = {line.get_label(): line.get_xydata().tolist() for line in figures[0].axes[0].lines}
    assert lines["l1"] == [[1, 50], [2, 70]]
    assert lines["foad"] == []


def test_curves_say_over_how_many_seeds_they_are(make_record: MakeRecord, figures: list[Figure]) -> None:
    records = [make_record("l1", seed=seed) for seed in range(3)]
    curves(leaderboards(records)[0])
    curves(leaderboards([*records, make_record("foad")])[0])
    complete, lacking = (figure.axes[0].get_ylabel() for figure in figures)
    assert complete.endswith("mean over 3 seeds")
    assert lacking.endswith("mean over 3 seeds, † fewer")


def test_the_quickest_is_on_top_of_a_logarithmic_scale(make_record: MakeRecord, figures: list[Figure]) -> None:
    records = [
        make_record(name, seconds_to_score=seconds, peak_bytes_to_score=1_000_000)
        for name, seconds in (("slow", 20.0), ("quick", 0.01), ("none", 0.0))
    ]
    score_times(leaderboards(records)[0])
    time, memory = figures[0].axes
    assert time.get_xscale() == memory.get_xscale() == "log"
    assert time.get_xlim() == pytest.approx((0.01, 100))
    assert [label.get_text() for label in time.get_yticklabels()] == ["slow", "quick", "none"]
    points = [tuple(line.get_xydata()[0]) for line in time.lines if line.get_linestyle() == "None"]
    assert (20.0, 0) in points
    assert (0.01, 1) in points
    assert all(place != 2 for _, place in points)
    score_times(leaderboards([make_record()])[0])
    assert len(figures[1].axes) == 1


def test_a_map_of_the_layers_that_someone_pruned(make_record: MakeRecord, figures: list[Figure]) -> None:
    before = {"net.1.conv": 8, "net.2.conv": 10, "net.3.conv": 4}
    records = [
        make_record(
            name,
            before=Cost(params=2000, flops=4_000_000, widths=before),
            after=Cost(params=500, flops=1_000_000, widths={**before, "net.1.conv": one, "net.3.conv": three}),
        )
        for name, one, three in (("a", 4, 4), ("b", 6, 1))
    ]
    widths(leaderboards(records)[0])
    axes = figures[0].axes[0]
    assert axes.images[0].get_array().tolist() == [[0.5, 1.0], [0.75, 0.25]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_names_lose_what_all_share() -> None:
    assert short_names(["f.a.0", "f.b.0"]) == ["a", "b"]
    assert short_names(["f.a", "f.a.1"]) == ["a", "a.1"]
    assert short_names(["f.a"]) == ["f.a"]
    assert short_names([]) == []


def test_wide_intervals_do_not_squeeze_the_means() -> None:
    low, high = percent_limits([Estimate(0.80, 0.9, 2), Estimate(0.82, 0.001, 2), None])
    assert 77 < low < 79
    assert 83 < high < 85
    low, high = percent_limits([Estimate(0.80, 0.001, 3), Estimate(0.82, 0.001, 3)])
    assert 79.6 < low < 79.9
    assert percent_limits([Estimate(0.998, 0.1, 2)])[1] < 100.2
    assert percent_limits([None]) == (0, 100)
