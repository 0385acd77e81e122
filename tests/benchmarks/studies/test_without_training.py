from __future__ import annotations

from pathlib import Path

from foad_plugins.benchmarks.records.store import RecordStore
from foad_plugins.benchmarks.studies.without_training import page

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_committed_page_is_that_of_the_committed_records():
    folders = sorted((DOCS / "leaderboards").glob("*-oneshot/records"))
    found = {folder.parent.name: RecordStore(folder).all() for folder in folders}
    committed = (DOCS / "measurements" / "without_training.md").read_text(encoding="utf-8")
    assert set(page(found).splitlines()) == set(committed.splitlines())


def test_means_and_blank_cells(make_record):
    text = page({"cifar10-resnet56-oneshot": [make_record("foad", seed=0), make_record("foad", seed=1)]})
    rows = [line for line in text.splitlines() if line.startswith("| FOAD")]
    assert len(rows) == 1
    assert "50.0 ± 0.0" in rows[0]
