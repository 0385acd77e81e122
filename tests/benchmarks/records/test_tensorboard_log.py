from __future__ import annotations

import os
from pathlib import Path

import pytest

from foad_plugins.benchmarks.cli import entry as cli
from foad_plugins.benchmarks.records.schema import RunRecord
from foad_plugins.benchmarks.records.store import RecordStore
from foad_plugins.benchmarks.records.tensorboard_log import TensorBoardLog
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.training.recipe import Epoch
from foad_plugins.utils import extras

from ..conftest import MakeRecord

Scalars = dict[str, list[tuple[int, float]]]


def scalars(folder: Path) -> Scalars:
    """What the event files of a folder hold, as TensorBoard reads it."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = events.EventAccumulator(str(folder))
    reader.Reload()
    return {tag: [(each.step, each.value) for each in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def expected(record: RunRecord) -> Scalars:
    accuracies = [(0, record.accuracy.one_shot)]
    accuracies += [(step, epoch.test_accuracy) for step, epoch in enumerate(record.epochs, 1) if epoch.test_accuracy]
    return {
        "left/parameters": [(0, pytest.approx(record.after.params / record.before.params))],
        "left/flops": [(0, pytest.approx(record.after.flops / record.before.flops))],
        "fine-tuning/accuracy": [(step, pytest.approx(value)) for step, value in accuracies],
        "fine-tuning/loss": [(step, pytest.approx(e.train_loss)) for step, e in enumerate(record.epochs, 1)],
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_run_of_a_suite_has_its_curves(
    tiny_suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(tiny_suite.model_dump_json(exclude_none=True))
    assert cli.main(["run", "tiny.yaml", "--quiet", "--log", "tensorboard"]) == 0, capsys.readouterr().err
    records = RecordStore(Path("results/tiny/records")).all()
    assert len(records) == 2
    for record in records:
        assert scalars(tmp_path / "results/tiny/tensorboard" / Path(record.inputs.file_name).stem) == expected(record)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_record_is_written_once_until_the_run_is_done_again(make_record: MakeRecord, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    epochs = (Epoch(train_loss=2.0, seconds=5), Epoch(train_loss=1.0, test_accuracy=0.75, seconds=5))
    record = make_record(epochs=epochs)
    log, folder = TensorBoardLog(tmp_path), tmp_path / Path(record.inputs.file_name).stem
    log(record)
    (first,) = folder.iterdir()
    log(record)
    assert list(folder.iterdir()) == [first]
    assert scalars(folder) == expected(record)
    os.utime(first, (0, 0))
    again = record.model_copy(update={"epochs": epochs[:1]})
    log(again)
    assert scalars(folder) == expected(again)


def test_without_tensorboard_nothing_runs(
    tiny_suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(tiny_suite.model_dump_json(exclude_none=True))
    installed = extras._installed
    monkeypatch.setattr(extras, "_installed", lambda module: module != "tensorboard" and installed(module))
    assert cli.main(["run", "tiny.yaml", "--log", "tensorboard"]) == 2
    assert 'pip install "foad-plugins[tensorboard]"' in capsys.readouterr().err
    assert not Path("results").exists()
