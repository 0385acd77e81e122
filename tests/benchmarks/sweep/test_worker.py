from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from foad_plugins.benchmarks.datasets import load_digits
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.records.environment import Versions
from foad_plugins.benchmarks.records.schema import FailureRecord, RunInputs, RunRecord
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.sweep import worker as jobs
from foad_plugins.benchmarks.sweep.runner import plan
from foad_plugins.benchmarks.sweep.worker import JobFailure, WorkerContext, clear_caches, do_base, do_run, load_data

from ..conftest import AddCriterion
from ..sweeps import lasting


@pytest.fixture
def inputs(tiny_suite: Suite) -> RunInputs:
    return plan(tiny_suite, load_digits(), Versions.installed())[1]


@pytest.fixture
def weights(inputs: RunInputs) -> bytes:
    content = do_base(inputs.setup, 0, WorkerContext(quiet=True))
    assert isinstance(content, bytes)
    return content


def test_a_job_needs_nothing_but_its_arguments_and_repeats_itself(inputs: RunInputs, weights: bytes) -> None:
    context = WorkerContext(quiet=True)
    assert do_base(inputs.setup, 0, context) == weights
    assert do_base(inputs.setup, 1, context) != weights
    first = do_run(inputs, weights, context)
    # As on another machine: arguments and results are pickled, and nothing is at hand.
    clear_caches()
    jobs._BASES.clear()
    second = pickle.loads(pickle.dumps(do_run(*pickle.loads(pickle.dumps((inputs, weights, context))))))
    assert isinstance(first, RunRecord)
    assert lasting(first) == lasting(second)


def test_the_base_model_of_a_seed_is_loaded_once(
    inputs: RunInputs, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, load_base = [], jobs.load_base

    def counted(*arguments: object) -> object:
        loaded.append(arguments)
        return load_base(*arguments)

    jobs._BASES.clear()
    monkeypatch.setattr(jobs, "load_base", counted)
    for _ in range(2):
        assert isinstance(do_run(inputs, weights, WorkerContext(quiet=True)), RunRecord)
    assert len(loaded) == 1
    assert len(jobs._BASES) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("it\n  broke"), "criterion 'raises', group of layer 'features.0': RuntimeError: it broke"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_whatever_a_criterion_raises_is_the_reason(
    inputs: RunInputs, weights: bytes, add_criterion: AddCriterion, error: BaseException, reason: str
) -> None:
    def raises(group: object) -> torch.Tensor:
        raise error

    spec = add_criterion("raises", raises)
    failed = do_run(inputs.model_copy(update={"criterion": spec}), weights, WorkerContext(quiet=True))
    assert isinstance(failed, JobFailure)
    assert failed.reason == reason
    assert "in raises" in failed.details
    record = failed.record(inputs)
    assert (record.inputs, record.reason, record.details) == (inputs, failed.reason, failed.details)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("it\n  broke"), "RuntimeError: it broke"),
        (ValueError(), "ValueError: no message"),
        (OSError("\x1b[36mcoloured\x1b[0m text"), "OSError: coloured text"),
        (OSError("long " * 500), "OSError: " + "long " * 98 + "l..."),
        (SettingsError("settings: must be good"), "settings: must be good"),
        (OSError(os.fsdecode(b"caf\xe9.png")), "OSError: caf\\udce9.png"),
    ],
)
def test_the_reason_is_one_line(error: Exception, reason: str) -> None:
    assert JobFailure.from_error(error).reason == reason
    wrapped = RuntimeError("something else failed")
    wrapped.__cause__ = error
    harness = isinstance(error, SettingsError)
    assert JobFailure.from_error(wrapped).reason == (reason if harness else "RuntimeError: something else failed")


def test_a_failure_that_names_an_undecodable_file_can_be_kept(inputs: RunInputs) -> None:
    record = JobFailure.from_error(OSError(os.fsdecode(b"caf\xe9.png"))).record(inputs)
    assert FailureRecord.model_validate_json(record.model_dump_json()) == record


def test_a_worker_that_finds_other_data_fails(inputs: RunInputs, weights: bytes) -> None:
    setup = inputs.setup.model_copy(update={"data_hash": "0" * 64})
    for failed in (
        do_base(setup, 0, WorkerContext(quiet=True)),
        do_run(inputs.model_copy(update={"setup": setup}), weights, WorkerContext(quiet=True)),
    ):
        assert isinstance(failed, JobFailure)
        assert failed.reason == "digits: this worker finds other data than the suite began with"


def test_relative_paths_mean_the_same_to_every_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    context = WorkerContext()
    monkeypatch.chdir(tmp_path)
    context.enter()
    assert Path.cwd() == tmp_path / "here"
    # On another machine there may be no such folder.
    WorkerContext(folder=tmp_path / "not-there").enter()
    assert Path.cwd() == tmp_path / "here"
    os.chdir(tmp_path)


def test_data_is_loaded_once_until_it_is_to_be_read_again(inputs: RunInputs) -> None:
    spec = inputs.setup.conditions.dataset
    first = load_data(spec, None, "cpu")
    assert load_data(spec, None, "cpu") is first
    clear_caches()
    assert load_data(spec, None, "cpu") is not first
