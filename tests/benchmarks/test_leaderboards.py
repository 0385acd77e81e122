"""Every leaderboard in the documentation is what its records give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from foad_plugins.benchmarks.report import render
from foad_plugins.benchmarks.store import RecordStore

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[2] / "docs" / "leaderboards").glob("*/records"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_table_comes_from_the_records(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "records", tmp_path / "records")
    render(tmp_path)
    assert (tmp_path / "leaderboard.md").read_text() == (folder / "leaderboard.md").read_text()
    for plot in tmp_path.glob("*.png"):
        assert (folder / plot.name).is_file()
    records = RecordStore(tmp_path / "records").all()
    assert len(records) == len(list((folder / "records").iterdir()))
    assert {record.inputs.setup.suite for record in records} == {folder.name}
