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


def test_trainings_of_other_lengths_are_not_compared():
    records = RecordStore(DOCS / "leaderboards" / "cifar10-resnet56-recovery" / "records").all()
    labels = RecordStore(DOCS / "leaderboards" / "cifar10-resnet56" / "records").all()
    for length, compared in ((5, True), (15, False)):
        changed = []
        for record in records:
            conditions = record.inputs.setup.conditions
            recipe = conditions.finetune_recipe.model_copy(update={"epochs": length})
            setup = record.inputs.setup.model_copy(
                update={"conditions": conditions.model_copy(update={"finetune_recipe": recipe})}
            )
            changed.append(record.model_copy(update={"inputs": record.inputs.model_copy(update={"setup": setup})}))
        text = page({"ResNet-56, CIFAR-10": [*changed, *labels]}).partition("### FLOPs -50%")[2].partition("###")[0]
        rows = [line for line in text.splitlines() if line.startswith("| sensitivity, refit")]
        assert rows
        assert all((row.split("|")[-2].strip() != "") is compared for row in rows)
