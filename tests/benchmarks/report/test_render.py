from __future__ import annotations

from pathlib import Path

import pytest

from foad_plugins.benchmarks.report import NoRecordsError, render
from foad_plugins.benchmarks.store import RecordStore, RecordWarning

from ..conftest import MakeRecord


def test_all_files_come_from_the_records(tmp_path: Path, make_record: MakeRecord) -> None:
    store = RecordStore(tmp_path / "records")
    store.save(make_record("foad", accuracy=(0.9, 0.2, 0.6)))
    store.save(make_record("l1", accuracy=(0.9, 0.3, 0.7)))
    text = render(tmp_path)
    assert text.index("l1 ") < text.index("foad ")
    markdown = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert markdown.startswith("# Leaderboard\n\n## tiny\n")
    assert "| l1 " in markdown
    assert {path.name for path in tmp_path.iterdir()} == {"records", "leaderboard.md", "accuracy_flops.png"}


def test_every_setup_has_its_own_section_and_plot(tmp_path: Path, make_record: MakeRecord) -> None:
    store = RecordStore(tmp_path / "records")
    store.save(make_record(minute=1))
    store.save(make_record(minute=2, conditions={"flops_reduction": 0.75}))
    render(tmp_path)
    markdown = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert markdown.count("## tiny") == 2
    assert markdown.index("Target: -75%") < markdown.index("Target: -40%")
    plots = sorted(path.name for path in tmp_path.glob("*.png"))
    assert len(plots) == 2
    assert all(f"]({plot})" in markdown for plot in plots)


def test_records_that_cannot_be_read_are_left_out(tmp_path: Path, make_record: MakeRecord) -> None:
    store = RecordStore(tmp_path / "records")
    store.save(make_record("l1"))
    store.save(make_record("foad")).write_text("{")
    with pytest.warns(RecordWarning, match="foad"):
        text = render(tmp_path)
    assert "l1 " in text
    assert "foad " not in text.split("threads")[0].split("±")[0]


def test_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(NoRecordsError, match="no records"):
        render(tmp_path)
    assert not list(tmp_path.iterdir())
