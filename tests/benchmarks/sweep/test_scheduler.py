from __future__ import annotations

import errno
import os
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import torch

from foad_plugins.benchmarks.criteria import CriterionSpec
from foad_plugins.benchmarks.records.store import FailureStore, RecordStore, RecordWarning
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.sweep import scheduler as sweep
from foad_plugins.benchmarks.sweep import worker as jobs
from foad_plugins.benchmarks.sweep.executors import Executor, InProcess, WorkerLostError
from foad_plugins.benchmarks.sweep.locks import Locks
from foad_plugins.benchmarks.sweep.runner import Outcome, run_suite
from foad_plugins.benchmarks.training.train import TrainingDivergedError

from ..conftest import AddCriterion


def with_criteria(suite: Suite, *criteria: CriterionSpec) -> Suite:
    return suite.model_copy(update={"criteria": criteria})


def names(outcome: Outcome) -> tuple[list[str], list[str]]:
    """Titles of what was done and of what failed."""
    records = [f"{record.inputs.criterion.title}-{record.inputs.seed}" for record in outcome.records]
    return records, [f"{failure.inputs.criterion.title}-{failure.inputs.seed}" for failure in outcome.failures]


def by_norm(group: Any) -> torch.Tensor:
    return group[0].dep.layer.weight.detach().flatten(1).norm(dim=1)


def test_a_failing_criterion_fails_alone_and_is_tried_again(
    tiny_suite: Suite, tmp_path: Path, add_criterion: AddCriterion
) -> None:
    bad = add_criterion("bad", lambda group: 1 / 0)
    suite = with_criteria(tiny_suite, bad, CriterionSpec(name="l1"))
    lines: list[str] = []
    outcome = run_suite(suite, tmp_path, write=lines.append)
    assert names(outcome) == (["l1-0"], ["bad-0"])
    (failure,) = outcome.failures
    assert outcome.executed == 1
    assert failure.reason == "criterion 'bad', group of layer 'features.0': ZeroDivisionError: division by zero"
    assert lines[0] == f"seed 0  {'bad':<19} FAILED: {failure.reason}"
    store = FailureStore(tmp_path / "failures")
    assert store.all() == [failure]

    again = run_suite(suite, tmp_path, quiet=True)
    assert (again.executed, names(again)) == (0, (["l1-0"], ["bad-0"]))

    add_criterion("bad", by_norm)
    mended = run_suite(suite, tmp_path, quiet=True)
    assert (mended.executed, names(mended)) == (1, (["bad-0", "l1-0"], []))
    assert store.all() == []


def test_a_failure_that_a_kill_left_beside_the_record_is_removed(tiny_suite: Suite, finished: Path) -> None:
    record = RecordStore(finished / "records").all()[0]
    store = FailureStore(finished / "failures")
    store.save(jobs.JobFailure("it broke", "").record(record.inputs))
    assert run_suite(tiny_suite, finished, quiet=True).failures == ()
    assert store.all() == []


def test_what_cannot_be_kept_is_not_begun(tiny_suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InProcess, "submit", lambda *arguments: pytest.fail("something was begun"))
    (tmp_path / "records").touch()
    with pytest.raises(FileExistsError):
        run_suite(tiny_suite, tmp_path, quiet=True)


def test_one_base_model_for_all_seeds_is_trained_once(
    tiny_suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_base, trained = jobs.train_base, []

    def watched(setup: Any, data: Any, seed: int, **options: Any) -> bytes:
        trained.append(seed)
        return train_base(setup, data, seed, **options)

    monkeypatch.setattr(jobs, "train_base", watched)
    conditions = tiny_suite.conditions.model_copy(update={"base_seed": 7})
    suite = tiny_suite.model_copy(update={"seeds": 2, "conditions": conditions})
    outcome = run_suite(suite, tmp_path, quiet=True)
    assert names(outcome) == (["foad-0", "l1-0", "foad-1", "l1-1"], [])
    assert trained == [7]
    assert len({record.base_weights_hash for record in outcome.records}) == 1
    assert len({record.inputs.seed for record in outcome.records}) == 2
    assert run_suite(suite, tmp_path, quiet=True, fresh=True).executed == 4
    assert trained == [7, 7]


def test_a_base_model_that_diverges_fails_the_runs_of_its_seed(
    tiny_suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_base = jobs.train_base

    def diverges(setup: Any, data: Any, seed: int, **options: Any) -> bytes:
        if seed == 0:
            raise TrainingDivergedError("seed 0: base model: the loss became nan at step 3 of 12")
        return train_base(setup, data, seed, **options)

    monkeypatch.setattr(jobs, "train_base", diverges)
    suite = tiny_suite.model_copy(update={"seeds": 2})
    outcome = run_suite(suite, tmp_path, quiet=True)
    assert names(outcome) == (["foad-1", "l1-1"], ["foad-0", "l1-0"])
    reason = "base model: seed 0: base model: the loss became nan at step 3 of 12"
    assert [failure.reason for failure in outcome.failures] == [reason] * 2
    monkeypatch.undo()
    assert run_suite(suite, tmp_path, quiet=True).executed == 2
    assert FailureStore(tmp_path / "failures").all() == []


def test_a_record_that_cannot_be_read_is_made_again(tiny_suite: Suite, finished: Path) -> None:
    path = next((finished / "records").glob("foad-*"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.warns(RecordWarning, match=f"{path.name}: ignored, not a whole JSON file"):
        assert run_suite(tiny_suite, finished, quiet=True).executed == 1
    assert run_suite(tiny_suite, finished, quiet=True).executed == 0


def test_records_and_half_written_files_of_others_are_left_alone(tiny_suite: Suite, finished: Path) -> None:
    others = {".l1.json.abc.tmp": "{", "of-old.json": '{"schema_version": 99}'}
    for name, content in others.items():
        (finished / "records" / name).write_text(content)
    assert run_suite(tiny_suite, finished, fresh=True, quiet=True).executed == 2
    for name, content in others.items():
        assert (finished / "records" / name).read_text() == content


def test_runs_on_other_base_weights_are_done_again(tiny_suite: Suite, finished: Path) -> None:
    store = RecordStore(finished / "records")
    foad, l1 = store.all()
    store.save(foad.model_copy(update={"base_weights_hash": "f" * 64}))
    store.remove([l1.inputs])
    with pytest.warns(RecordWarning, match=f"{foad.inputs.file_name}: run again"):
        outcome = run_suite(tiny_suite, finished, quiet=True)
    assert outcome.executed == 2
    assert {record.base_weights_hash for record in outcome.records} == {foad.base_weights_hash}


def test_an_interrupt_keeps_what_is_finished(tiny_suite: Suite, tmp_path: Path, add_criterion: AddCriterion) -> None:
    def interrupts(group: object) -> torch.Tensor:
        raise KeyboardInterrupt

    suite = with_criteria(tiny_suite, CriterionSpec(name="l1"), add_criterion("late", interrupts))
    with pytest.raises(KeyboardInterrupt):
        run_suite(suite, tmp_path, quiet=True)
    assert [record.inputs.criterion.name for record in RecordStore(tmp_path / "records").all()] == ["l1"]
    assert FailureStore(tmp_path / "failures").all() == []
    # Its locks are free again.
    add_criterion("late", by_norm)
    assert run_suite(suite, tmp_path, quiet=True).executed == 1


def test_a_full_disk_is_an_error_and_leaves_no_part_of_a_record(
    tiny_suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_suite(with_criteria(tiny_suite, CriterionSpec(name="l1")), tmp_path, quiet=True)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run_suite(tiny_suite, tmp_path, quiet=True)
    monkeypatch.undo()
    assert len(list((tmp_path / "records").iterdir())) == 1
    assert run_suite(tiny_suite, tmp_path, quiet=True).executed == 1


class Slow(Executor):
    """Two slots, in which jobs end together, the last one first; remembers what ran."""

    slots = 2

    def __init__(self) -> None:
        self.started: list[tuple[str, Any]] = []
        self._pending: list[tuple[Future[Any], Any, Any]] = []

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        self.started.append((function.__name__, arguments))
        future: Future[Any] = Future()
        self._pending.append((future, function, arguments))
        if len(self._pending) == self.slots:
            self.flush()
        return future

    def flush(self) -> None:
        for future, function, arguments in reversed(self._pending):
            future.set_result(function(*arguments))
        self._pending.clear()

    def close(self) -> None:
        pass


def test_base_models_come_first_each_once_and_seeds_do_not_wait_for_each_other(
    tiny_suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Slow()
    # A slot that has nothing to do for now must not keep the other from ending.
    wait = sweep.wait
    monkeypatch.setattr(sweep, "wait", lambda *args, **kwargs: (executor.flush(), wait(*args, **kwargs))[1])
    outcome = run_suite(tiny_suite.model_copy(update={"seeds": 2}), tmp_path, executor=executor, quiet=True)
    assert [name for name, _ in executor.started] == ["do_base"] * 2 + ["do_run"] * 4
    assert [arguments[1] for _, arguments in executor.started[:2]] == [0, 1]
    assert [arguments[0].seed for _, arguments in executor.started[2:]] == [0, 0, 1, 1]
    assert names(outcome) == (["foad-0", "l1-0", "foad-1", "l1-1"], [])
    # Base models travel by value.
    contents = {arguments[1] for _, arguments in executor.started[2:]}
    assert contents == {path.read_bytes() for path in (tmp_path / "base").iterdir()}


class Breaks(InProcess):
    """Loses its worker at the second run."""

    runs = 0

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        self.runs += function is jobs.do_run
        if self.runs < 2:
            return super().submit(function, *arguments)
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("A process in the process pool was terminated abruptly"))
        return future


def test_a_lost_worker_ends_the_sweep_and_keeps_what_is_finished(tiny_suite: Suite, tmp_path: Path) -> None:
    with pytest.raises(WorkerLostError, match="finished runs are kept"):
        run_suite(tiny_suite, tmp_path, executor=Breaks(), quiet=True)
    assert len(RecordStore(tmp_path / "records").all()) == 1
    assert FailureStore(tmp_path / "failures").all() == []
    assert run_suite(tiny_suite, tmp_path, quiet=True).executed == 1


def test_what_another_sweep_is_at_is_waited_for(
    tiny_suite: Suite, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RecordStore(finished / "records")
    foad, _ = store.all()
    store.remove([foad.inputs])
    other = Locks(finished / ".locks")
    assert other.acquire(foad.inputs.file_name)
    waits = []

    def finish_elsewhere(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            store.save(foad)
            other.release_all()

    monkeypatch.setattr(sweep.time, "sleep", finish_elsewhere)
    outcome = run_suite(tiny_suite, finished, quiet=True)
    assert (outcome.executed, len(outcome.records), len(waits)) == (0, 2, 3)


def test_a_base_model_that_another_sweep_trains_is_waited_for(
    tiny_suite: Suite, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RecordStore(finished / "records").remove([record.inputs for record in RecordStore(finished / "records").all()])
    (base,) = (finished / "base").iterdir()
    content = base.read_bytes()
    base.unlink()
    other = Locks(finished / ".locks")
    assert other.acquire(base.name)

    def finish_elsewhere(seconds: float) -> None:
        base.write_bytes(content)
        other.release_all()

    monkeypatch.setattr(sweep.time, "sleep", finish_elsewhere)
    monkeypatch.setattr(jobs, "train_base", lambda *arguments, **options: 1 / 0)
    assert run_suite(tiny_suite, finished, quiet=True).executed == 2
