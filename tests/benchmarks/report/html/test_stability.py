from __future__ import annotations

import pytest

from foad_plugins.benchmarks.records.schema import RunRecord
from foad_plugins.benchmarks.report.charts.interactive import PageFigure
from foad_plugins.benchmarks.report.charts.stability import stability_figures
from foad_plugins.benchmarks.report.charts.style import series_styles
from foad_plugins.benchmarks.report.data.from_records import leaderboards
from foad_plugins.benchmarks.report.data.stability import stability_reports

from ...conftest import MakeRecord
from .conftest import LAYERS, PageOf


def figures(records: list[RunRecord]) -> dict[str, PageFigure]:
    boards = leaderboards(records)
    (report,) = stability_reports(boards)
    return {figure["title"]: figure["plot"]["data"][0] for figure in stability_figures(report, series_styles(boards))}


def iou(records: list[RunRecord], first: tuple[int, int], second: tuple[int, int], layer: str) -> float:
    """Of hrank's choices, channel by channel."""
    runs = {
        (run.inputs.setup.conditions.calibration_images, run.inputs.seed): run.removed
        for run in records
        if run.inputs.criterion.name == "hrank"
    }
    both = either = 0
    for channel in range(LAYERS[layer]):
        both += channel in runs[first][layer] and channel in runs[second][layer]
        either += channel in runs[first][layer] or channel in runs[second][layer]
    return both / either


def test_maps_hold_what_a_slow_count_gives(stability: list[RunRecord]) -> None:
    found = figures(stability)
    between = found["hrank: agreement between numbers of images"]["z"]
    slow = sum(iou(stability, (16, seed), (256, seed), layer) for seed in range(3) for layer in LAYERS) / 9
    assert between[0][2] == between[2][0] == pytest.approx(slow)
    assert [between[place][place] for place in range(3)] == [1.0] * 3
    by_layer = found["hrank: agreement by layer"]["z"]
    slow = sum(iou(stability, (64, seed), (256, seed), "features.c.conv") for seed in range(3)) / 3
    assert by_layer[1][2] == pytest.approx(slow)
    others = found["Agreement on other images, by layer"]["z"]
    slow = sum(iou(stability, (256, a), (256, b), "features.a.conv") for a, b in ((0, 1), (0, 2), (1, 2))) / 3
    assert others == [[pytest.approx(slow), *others[0][1:]], [1.0] * 3]


def test_hovering_shows_chance_too(stability: list[RunRecord]) -> None:
    text = figures(stability)["foad: agreement between numbers of images"]["hovertext"][0][2]
    assert text.startswith("<b>foad</b><br>16 and 256 images<br>IoU 1.000, by chance 0.3")


def test_lone_runs_and_old_records_make_no_figure(make_record: MakeRecord) -> None:
    study = {"kind": "stability"}
    assert figures([make_record(setup=study, removed={"a": (1,)})]) == {}
    assert figures([make_record(setup=study, seed=seed) for seed in range(2)]) == {}


def test_without_anything_to_compare_there_is_a_page(make_record: MakeRecord, page_of: PageOf) -> None:
    text = page_of([make_record(setup={"kind": "stability"})]).read_text()
    assert "intersection over union" in text
