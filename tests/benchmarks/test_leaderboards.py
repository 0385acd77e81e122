"""Every leaderboard in the documentation is what its records give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from matplotlib.image import imread

from foad_plugins.benchmarks.records.store import RecordStore
from foad_plugins.benchmarks.report import render

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[2] / "docs" / "leaderboards").glob("*/records"))
TEXTS = ("*.md", "*.csv")


def names(folder: Path, *patterns: str) -> set[str]:
    return {path.name for pattern in patterns for path in folder.glob(pattern)}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tables_and_plots_are_those_of_the_records(folder: Path, tmp_path: Path) -> None:
    for part in ("records", "failures"):
        if (folder / part).is_dir():
            shutil.copytree(folder / part, tmp_path / part)
    render(tmp_path)
    assert names(folder, *TEXTS) == names(tmp_path, *TEXTS)
    for name in names(tmp_path, *TEXTS):
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name
    # Another release of matplotlib or its fonts may draw otherwise, but not other plots of another size.
    assert names(folder, "*.png") == names(tmp_path, "*.png")
    for name in names(tmp_path, "*.png"):
        assert imread(folder / name).shape == imread(tmp_path / name).shape, name


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_record_can_be_read_and_is_of_its_suite(folder: Path) -> None:
    records = RecordStore(folder / "records").all()
    assert len(records) == len(list((folder / "records").iterdir()))
    assert {record.inputs.setup.suite for record in records} == {folder.name}
