from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.charts.accuracy_flops import accuracy_over_flops

from ...conftest import MakeRecord


def points(figure: Figure, panel: int) -> dict[str, tuple[float, float]]:
    """Where each series of a panel lies, by its label."""
    series = zip(*figure.axes[panel].get_legend_handles_labels(), strict=True)
    return {label: tuple(line[0].get_xydata()[0]) for line, label in series if len(line[0].get_xydata())}


def test_it_is_a_picture_with_something_on_it(make_record: MakeRecord) -> None:
    board = leaderboards([make_record("foad"), make_record("l1")])[0]
    pixels = imread(io.BytesIO(accuracy_over_flops(board)))
    assert pixels.shape[:2] == (720, 1500)
    assert 0.01 < np.mean(pixels[..., :3].min(-1) < 0.9) < 0.5


def test_equal_records_give_equal_bytes(make_record: MakeRecord) -> None:
    board = leaderboards([make_record("foad"), make_record("l1")])[0]
    assert accuracy_over_flops(board) == accuracy_over_flops(board)


def test_points_lie_where_the_records_say(make_record: MakeRecord, figures: list[Figure]) -> None:
    accuracy_over_flops(leaderboards([make_record("l1", accuracy=(0.9, 0.3, 0.7))])[0])
    assert points(figures[0], 0) == {"l1": (1.0, 30.0), "base model": (4.0, 90.0)}
    assert points(figures[0], 1) == {"l1": (1.0, 70.0), "base model": (4.0, 90.0)}


def test_criteria_at_equal_flops_lie_side_by_side_around_the_place(
    make_record: MakeRecord, figures: list[Figure]
) -> None:
    accuracy_over_flops(leaderboards([make_record(name) for name in ("a", "b", "c")])[0])
    xs = [point[0] for label, point in points(figures[0], 0).items() if label != "base model"]
    assert len({round(x, 6) for x in xs}) == 3
    assert sum(xs) / 3 == pytest.approx(1.0)
    assert max(xs) - min(xs) < 0.05 * 4
    assert "side by side" in figures[0].axes[0].get_xlabel()


def test_a_missing_value_leaves_no_point_but_its_name(make_record: MakeRecord, figures: list[Figure]) -> None:
    accuracy_over_flops(leaderboards([make_record("l1", accuracy=(0.9, 0.3, None))])[0])
    assert "l1" not in points(figures[0], 1)
    assert figures[0].axes[1].get_legend_handles_labels()[1] == ["l1", "base model"]


def test_a_criterion_keeps_its_look_whatever_its_rank(make_record: MakeRecord, figures: list[Figure]) -> None:
    for accuracies in ((0.3, 0.4), (0.4, 0.3)):
        records = [make_record(n, accuracy=(0.9, a, a)) for n, a in zip("ab", accuracies, strict=True)]
        accuracy_over_flops(leaderboards(records)[0])
    looks = []
    for figure in figures:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        looks.append({name: (h[0].get_color(), h[0].get_marker()) for h, name in zip(handles, labels, strict=True)})
    assert looks[0] == looks[1]
    assert looks[0]["a"] != looks[0]["b"]


def test_every_measured_stage_has_a_panel(make_record: MakeRecord, figures: list[Figure]) -> None:
    moved = make_record("l1", accuracy=(0.9, 0.3, 0.7), one_shot_bn=0.5)
    recipe = moved.inputs.setup.conditions.finetune_recipe.model_copy(update={"epochs": 0})
    untuned = make_record("l1", accuracy=(0.9, 0.3, None), one_shot_bn=0.5, conditions={"finetune_recipe": recipe})
    for record in (moved, untuned):
        pixels = imread(io.BytesIO(accuracy_over_flops(leaderboards([record])[0])))
        assert pixels.shape[1] == 750 * len(figures[-1].axes)
    assert [points(figures[0], panel)["l1"][1] for panel in range(3)] == [30.0, 50.0, 70.0]
    assert [points(figures[1], panel)["l1"][1] for panel in range(2)] == [30.0, 50.0]


def test_compensation_fills_the_marker_of_its_criterion(make_record: MakeRecord, figures: list[Figure]) -> None:
    entry = {"label": "l1+ls", "compensate": "least_squares"}
    records = [make_record("l1"), make_record("l1", entry=entry), make_record("foad")]
    accuracy_over_flops(leaderboards(records)[0])
    accuracy_over_flops(leaderboards(records[:1])[0])
    looks = []
    for figure in figures:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        looks.append(
            {
                name: (h[0].get_color(), h[0].get_marker(), h[0].get_markerfacecolor() != "white")
                for h, name in zip(handles, labels, strict=True)
            }
        )
    assert looks[0]["l1"][:2] == looks[0]["l1+ls"][:2] != looks[0]["foad"][:2]
    assert (looks[0]["l1"][2], looks[0]["l1+ls"][2]) == (False, True)
    assert looks[1]["l1"][2]


def test_many_entries_stay_near_their_place(make_record: MakeRecord, figures: list[Figure]) -> None:
    accuracy_over_flops(leaderboards([make_record(f"entry{number}") for number in range(14)])[0])
    xs = [point[0] for label, point in points(figures[0], 0).items() if label != "base model"]
    assert len(set(xs)) == 14
    assert max(xs) - min(xs) < 0.16 * 4


def test_an_entry_that_lacks_a_seed_is_marked(make_record: MakeRecord, figures: list[Figure]) -> None:
    records = [make_record("foad", seed) for seed in (0, 1, 2)] + [make_record("l1", seed) for seed in (0, 1)]
    accuracy_over_flops(leaderboards(records)[0])
    assert set(points(figures[0], 0)) == {"foad", "l1 †", "base model"}
    assert figures[0].axes[0].get_ylabel().endswith("95 % interval, 3 seeds, † fewer")
