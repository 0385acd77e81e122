from __future__ import annotations

import pytest

from foad_plugins.benchmarks.records import RunRecord
from foad_plugins.benchmarks.report.page import render_page
from foad_plugins.benchmarks.report.page_stability import agreements, layer_iou, stability_figures
from foad_plugins.benchmarks.report.summary import leaderboards

from ..conftest import MakeRecord
from .conftest import LAYERS, FolderOf


def test_iou_by_hand(make_record: MakeRecord) -> None:
    one = make_record(removed={"a": (0, 1, 2), "b": (), "c": (4,), "d": (1, 2)})
    other = make_record(removed={"a": (1, 2, 3), "b": (), "c": (5,), "d": (2, 1)})
    assert layer_iou(one, other) == {"a": 0.5, "b": 1.0, "c": 0.0, "d": 1.0}
    assert layer_iou(one, make_record(removed={})) == {"a": 0.0, "b": 1.0, "c": 0.0, "d": 0.0}


def test_means_equal_a_slow_count(stability: list[RunRecord]) -> None:
    found = {each.criterion: each for each in agreements(leaderboards(stability))}
    runs = {
        (run.inputs.setup.conditions.calibration_images, run.inputs.seed): run.removed
        for run in stability
        if run.inputs.criterion.name == "hrank"
    }

    def iou(a: dict, b: dict) -> float:
        total = 0.0
        for layer in LAYERS:
            both = either = 0
            for channel in range(LAYERS[layer]):
                both += channel in a[layer] and channel in b[layer]
                either += channel in a[layer] or channel in b[layer]
            total += both / either
        return total / len(LAYERS)

    more = sum(iou(runs[16, seed], runs[256, seed]) for seed in range(3)) / 3
    pairs = ((0, 1), (0, 2), (1, 2))
    other = sum(iou(runs[64, a], runs[64, b]) for a, b in pairs) / 3
    assert found["hrank"].more[16] == pytest.approx(more)
    assert found["hrank"].other[64] == pytest.approx(other)
    assert found["foad"].more == {16: 1.0, 64: 1.0}
    assert set(found["foad"].other.values()) == {1.0}


def test_the_most_stable_comes_first(stability: list[RunRecord]) -> None:
    assert [each.criterion for each in agreements(leaderboards(stability))] == ["foad", "hrank"]


def test_heat_maps_hold_every_pair_of_runs(stability: list[RunRecord]) -> None:
    runs, layers, *_ = stability_figures(agreements(leaderboards(stability)))
    heat = runs["plot"]["data"][0]
    assert [len(line) for line in heat["z"]] == [9] * 9
    assert all(heat["z"][place][place] == 1 for place in range(9))
    assert "16 images, seed 0<br>256 images, seed 2<br>IoU" in heat["text"][0][8]
    assert [len(line) for line in layers["plot"]["data"][0]["z"]] == [3, 3]


def test_lone_runs_and_old_records_make_no_figure(make_record: MakeRecord) -> None:
    study = {"kind": "stability"}
    assert stability_figures(agreements(leaderboards([make_record(setup=study, removed={"a": (1,)})]))) == []
    assert agreements(leaderboards([make_record(setup=study)])) == []


def test_a_study_with_nothing_to_compare_is_a_page_all_the_same(make_record: MakeRecord, folder_of: FolderOf) -> None:
    text = render_page(folder_of([make_record(setup={"kind": "stability"})])).read_text()
    assert "Two random choices" in text
