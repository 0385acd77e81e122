from __future__ import annotations

import csv
from pathlib import Path

import pytest

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.records.store import FailureStore, RecordStore
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.report import NoRecordsError, render
from foad_plugins.benchmarks.suites.targets import Target

from ..conftest import MakeRecord
from .conftest import MakeFailure

TABLES = {"leaderboard.md", "leaderboard.csv", "leaderboard.html", "summary.csv", "widths.csv"}


def test_all_files_come_from_the_records(tmp_path: Path, make_record: MakeRecord) -> None:
    store = RecordStore(tmp_path / "records")
    store.save(make_record("foad", accuracy=(0.9, 0.2, 0.6)))
    store.save(make_record("l1", accuracy=(0.9, 0.3, 0.7)))
    text = render(tmp_path)
    assert text.index("l1 ") < text.index("foad ")
    markdown = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert markdown.startswith("# Leaderboard\n\n## tiny: FLOPs -40%, local ranking\n")
    assert "| l1 " in markdown
    plots = {path.name for path in tmp_path.glob("*.png")}
    assert plots == {"accuracy_flops.png"}
    assert all(f"]({plot})" in markdown for plot in plots)
    assert {path.name for path in tmp_path.iterdir()} == {"records", *TABLES, *plots}


def test_every_setup_has_its_own_section_and_plots(tmp_path: Path, make_record: MakeRecord) -> None:
    store = RecordStore(tmp_path / "records")
    store.save(make_record(minute=1))
    store.save(make_record(minute=2, conditions={"target": Target(flops_reduction=0.75)}))
    render(tmp_path)
    markdown = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert markdown.count("\n## tiny: ") == 2
    assert markdown.index("Target: FLOPs -40%") < markdown.index("Target: FLOPs -75%")
    plots = sorted(path.name for path in tmp_path.glob("accuracy_flops*.png"))
    assert len(plots) == 2
    assert all(f"]({plot})" in markdown for plot in plots)
    with (tmp_path / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        assert [line["target"] for line in csv.DictReader(file)] == ["FLOPs -40%", "FLOPs -75%"]


def test_each_kind_of_suite_has_its_own_section(tmp_path: Path, make_record: MakeRecord) -> None:
    store = RecordStore(tmp_path / "records")
    rule = {"label": "t=1", "rule": Rule()}
    store.save(make_record("l1"))
    store.save(make_record("foad", entry=rule, setup={"kind": "ablation"}, conditions={"target": Target()}))
    for count in (16, 32):
        study = {"setup": {"kind": "stability"}, "conditions": {"calibration_images": count}}
        store.save(make_record("foad", removed={"conv": (1,)}, **study))
    render(tmp_path)
    markdown = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert markdown.count("\n## ") == 3
    assert markdown.count("Between numbers of images, same calibration sample") == 1
    assert markdown.count("no row is better than another by accuracy alone") == 1
    assert (tmp_path / "stability.csv").is_file()
    assert len(list(tmp_path.glob("ablation*.png"))) == 1


def test_failures_are_reported(tmp_path: Path, make_record: MakeRecord, make_failure: MakeFailure) -> None:
    RecordStore(tmp_path / "records").save(make_record("l1"))
    failures = FailureStore(tmp_path / "failures")
    failures.save(make_failure("foad", reason="scores hold <NaN>"))
    failures.save(make_failure("chip", reason="lost", setup={"ranking": "global"}))
    text = render(tmp_path)
    markdown = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "Failed: foad, seed 0: scores hold <NaN>" in text
    assert "**Failed: foad, seed 0: scores hold \\<NaN\\>**" in markdown
    assert "## Without a single result\n\n- tiny, FLOPs -40%, global ranking: Failed: chip, seed 0: lost\n" in markdown


def test_published_results_stand_apart(tmp_path: Path, make_record: MakeRecord) -> None:
    network = {"model": Spec(name="vgg16-cifar"), "dataset": Spec(name="cifar10-npz")}
    RecordStore(tmp_path / "records").save(make_record("l1", conditions=network))
    render(tmp_path)
    markdown = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    ours, _, theirs = markdown.partition("*As published for VGG-16 on CIFAR-10; not comparable with the rows above")
    assert "93.81" not in ours
    assert "*93.81*" in theirs
    assert "93.81" not in (tmp_path / "leaderboard.csv").read_text() + (tmp_path / "summary.csv").read_text()


def test_nothing_to_show(tmp_path: Path, make_failure: MakeFailure) -> None:
    with pytest.raises(NoRecordsError, match="no records in .*; make some with"):
        render(tmp_path)
    assert not list(tmp_path.iterdir())
    FailureStore(tmp_path / "failures").save(make_failure("chip", reason="lost"))
    with pytest.raises(NoRecordsError, match="every run failed: Failed: chip, seed 0: lost"):
        render(tmp_path)


def test_a_report_that_fails_leaves_the_old_one_unchanged(
    tmp_path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RecordStore(tmp_path / "records")
    store.save(make_record("l1"))
    render(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    store.save(make_record("foad"))
    monkeypatch.setattr("foad_plugins.benchmarks.report.text.comparison.accuracy_flops_png", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        render(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
