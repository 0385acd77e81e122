from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from foad_plugins.benchmarks.records.schema import FailureRecord, RunInputs
from foad_plugins.benchmarks.records.store import FailureStore, RecordStore, RecordWarning
from foad_plugins.benchmarks.training.recipe import Epoch

from ..conftest import MakeRecord


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore(tmp_path / "records")


def test_a_saved_record_is_found_by_its_inputs(store: RecordStore, make_record: MakeRecord) -> None:
    record = make_record()
    assert store.find(record.inputs) is None
    assert store.all() == []
    path = store.save(record)
    assert path.parent == store.folder
    assert store.find(record.inputs) == record
    assert store.find(make_record(seed=1).inputs) is None


def test_a_second_save_replaces_the_first(store: RecordStore, make_record: MakeRecord) -> None:
    store.save(make_record())
    store.save(make_record(seconds_total=9.0))
    assert [record.seconds_total for record in store.all()] == [9.0]


@pytest.mark.parametrize("length", [0, 1, 100, -2])
def test_a_truncated_file_is_ignored_with_a_warning(store: RecordStore, make_record: MakeRecord, length: int) -> None:
    good, bad = make_record(), make_record(seed=1)
    store.save(good)
    path = store.save(bad)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.warns(RecordWarning, match=f"{path.name}: ignored, not a whole JSON file"):
        assert store.all() == [good]
    with pytest.warns(RecordWarning, match=path.name):
        assert store.find(bad.inputs) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"schema_version": 0}, "schema version 0, this program reads 1, 2, 3"),
        ({"schema_version": 4}, "schema version 4, this program reads 1, 2, 3"),
        ({"schema_version": 2, "inputs": [3]}, "not a valid record .inputs: "),
        ({"schema_version": 1, "inputs": {"setup": 3}}, "not a valid record .inputs.setup: "),
        ({"accuracy": 3}, "accuracy"),
        ({"accuracy": None, "schema_version": None}, "schema_version"),
    ],
)
def test_another_schema_is_ignored_with_a_warning(
    store: RecordStore, make_record: MakeRecord, content: dict[str, object], reason: str
) -> None:
    record = make_record()
    path = store.save(record)
    path.write_text(json.dumps(record.model_dump(mode="json") | content))
    with pytest.warns(RecordWarning, match=reason):
        assert store.all() == []


@pytest.mark.parametrize("text", ["[]", "3", "null", "\xff\xfe", "[" * 100_000])
def test_json_that_is_no_record_is_ignored_with_a_warning(
    store: RecordStore, make_record: MakeRecord, text: str
) -> None:
    path = store.save(make_record())
    path.write_bytes(text.encode("latin-1"))
    with pytest.warns(RecordWarning, match=path.name):
        assert store.all() == []


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999", "9" * 400, "9" * 5000])
def test_numbers_that_are_not_finite_are_refused(store: RecordStore, make_record: MakeRecord, number: str) -> None:
    epochs = (Epoch(train_loss=7.25, seconds=1.0),)
    path = store.save(make_record(epochs=epochs))
    path.write_text(path.read_text().replace("7.25", number))
    with pytest.warns(RecordWarning, match=f"{path.name}: ignored, the number {number[:20]} is not finite"):
        assert store.all() == []


def test_large_and_special_files_are_passed_over(store: RecordStore, make_record: MakeRecord) -> None:
    record = make_record()
    store.save(record)
    os.mkfifo(store.folder / "fifo.json")
    (store.folder / "zero.json").symlink_to("/dev/zero")
    with (store.folder / "sparse.json").open("wb") as file:
        file.truncate(6_000_000_000)
    with pytest.warns(RecordWarning) as caught:
        assert store.all() == [record]
    assert [str(warning.message) for warning in caught] == [
        "fifo.json: ignored, not a regular file",
        "sparse.json: ignored, more than 16,000,000 bytes",
        "zero.json: ignored, not a regular file",
    ]


def test_what_cannot_be_opened_is_ignored_with_a_warning(store: RecordStore, make_record: MakeRecord) -> None:
    inputs = make_record().inputs
    store.path(inputs).mkdir(parents=True)
    with pytest.warns(RecordWarning, match=f"{inputs.file_name}: ignored, not a regular file"):
        assert store.find(inputs) is None


def test_a_renamed_record_does_not_pass_for_another(store: RecordStore, make_record: MakeRecord) -> None:
    wanted = make_record(seed=1).inputs
    store.save(make_record()).rename(store.path(wanted))
    with pytest.warns(RecordWarning, match="other inputs"):
        assert store.find(wanted) is None


def test_a_run_of_an_earlier_release_counts_as_done_and_one_of_another_method_does_not(
    store: RecordStore, make_record: MakeRecord
) -> None:
    record = make_record()
    store.save(record)
    setup = record.inputs.setup

    def with_versions(**versions: Any) -> RunInputs:
        changed = setup.versions.model_copy(update=versions)
        return record.inputs.model_copy(update={"setup": setup.model_copy(update={"versions": changed})})

    assert store.find(with_versions(foad_plugins="7.0.0")) == record
    assert store.find(with_versions(method=2)) is None


def test_a_copy_of_a_record_is_no_second_run(store: RecordStore, make_record: MakeRecord) -> None:
    record = make_record()
    path = store.save(record)
    for name in (f"{path.stem} (copy)", f"{path.stem}_copy"):
        copy = path.with_stem(name)
        copy.write_text(make_record(seconds_total=9.0).model_dump_json())
        with pytest.warns(RecordWarning, match=r"\.json: another file holds the same run, one counts"):
            assert store.all() == [record]
        copy.unlink()


def test_leftovers_of_a_broken_off_write_are_no_records(store: RecordStore, make_record: MakeRecord) -> None:
    record = make_record()
    path = store.save(record)
    (store.folder / f".{path.name}.abc.tmp").write_text("{")
    assert store.all() == [record]


def test_remove_takes_only_what_is_named(store: RecordStore, make_record: MakeRecord) -> None:
    one, two = make_record(), make_record(seed=1)
    store.save(one)
    store.save(two)
    store.remove([one.inputs, make_record(seed=2).inputs])
    assert store.all() == [two]


@pytest.fixture
def failure(make_record: MakeRecord) -> FailureRecord:
    record = make_record()
    kept = {name: getattr(record, name) for name in ("inputs", "environment", "created")}
    return FailureRecord(**kept, reason="criterion 'l1': no", details="Traceback ...")


def test_failures_are_kept_beside_the_records_until_the_next_success(
    tmp_path: Path, make_record: MakeRecord, failure: FailureRecord
) -> None:
    failures = FailureStore(tmp_path / "failures")
    assert failures.all() == []
    path = failures.save(failure)
    assert path.name == make_record().inputs.file_name
    assert failures.all() == [failure]
    failures.remove([make_record(seed=1).inputs])
    assert failures.all() == [failure]
    failures.remove([failure.inputs])
    assert failures.all() == []


def test_a_failure_is_no_record_and_a_record_no_failure(
    store: RecordStore, make_record: MakeRecord, failure: FailureRecord
) -> None:
    failures = FailureStore(store.folder)
    path = failures.save(failure)
    with pytest.warns(RecordWarning, match=f"{path.name}: ignored, not a valid record"):
        assert store.find(failure.inputs) is None
    store.save(make_record())
    with pytest.warns(RecordWarning, match=f"{path.name}: ignored, not a valid record"):
        assert failures.all() == []
