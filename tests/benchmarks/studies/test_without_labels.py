from __future__ import annotations

from foad_plugins.benchmarks.records.store import RecordStore
from foad_plugins.benchmarks.studies.without_labels import SUITES, page
from tests.benchmarks.studies.test_without_training import DOCS


def test_the_committed_page_is_that_of_the_committed_records():
    found = {
        network: [record for suite in suites for record in RecordStore(DOCS / "leaderboards" / suite / "records").all()]
        for network, suites in SUITES.items()
    }
    committed = (DOCS / "measurements" / "without_labels.md").read_text(encoding="utf-8")
    assert set(page(found).splitlines()) == set(committed.splitlines())
