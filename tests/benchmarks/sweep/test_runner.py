from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from foad_plugins import load_pruned
from foad_plugins.benchmarks.criteria import CRITERIA, CriterionSpec
from foad_plugins.benchmarks.datasets import load_digits
from foad_plugins.benchmarks.datasets.data_root import MissingFileError
from foad_plugins.benchmarks.errors import BenchmarkError
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.records.environment import Versions
from foad_plugins.benchmarks.records.store import RecordStore
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.runs import run as single_run
from foad_plugins.benchmarks.runs.weights_file import WeightsError
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.suites.targets import Target
from foad_plugins.benchmarks.sweep.executors import InProcess
from foad_plugins.benchmarks.sweep.runner import plan, prepare, run_suite
from foad_plugins.benchmarks.training.hardware import Hardware, HardwareError
from foad_plugins.benchmarks.training.train import evaluate

from ..sweeps import lasting


class Watched(InProcess):
    """Remembers whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


def test_a_suite_from_start_to_end(tiny_suite: Suite, tmp_path: Path) -> None:
    lines: list[str] = []
    torch.set_num_threads(2)
    suite = tiny_suite.model_copy(update={"seeds": 2})
    executor = Watched()
    outcome = run_suite(suite, tmp_path, executor=executor, write=lines.append)
    assert (outcome.executed, outcome.failures, executor.closed) == (4, (), True)
    assert [(record.inputs.seed, record.inputs.criterion.name) for record in outcome.records] == [
        (0, "foad"),
        (0, "l1"),
        (1, "foad"),
        (1, "l1"),
    ]
    assert RecordStore(tmp_path / "records").all() == sorted(
        outcome.records, key=lambda record: record.inputs.file_name
    )
    assert len(lines) == 4
    assert lines[1].startswith("seed 0  l1 ")
    assert torch.get_num_threads() == 2
    for record in outcome.records:
        assert record.environment.threads == suite.conditions.threads == 1
        assert record.accuracy.fine_tuned is not None
        assert record.accuracy.one_shot_bn is None
    hashes = [record.base_weights_hash for record in outcome.records]
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]
    assert not (tmp_path / "failures").exists()


def test_a_second_run_reuses_all_and_needs_no_base_model(tiny_suite: Suite, finished: Path) -> None:
    shutil.rmtree(finished / "base")
    lines: list[str] = []
    outcome = run_suite(tiny_suite, finished, write=lines.append)
    assert outcome.executed == 0
    assert all("there already" in line for line in lines)
    assert not (finished / "base").exists()


def test_what_is_missing_is_run_and_comes_out_the_same(tiny_suite: Suite, finished: Path) -> None:
    before = run_suite(tiny_suite, finished, quiet=True).records
    RecordStore(finished / "records").remove([before[1].inputs])
    after = run_suite(tiny_suite, finished, quiet=True)
    assert after.executed == 1
    assert after.records[0] == before[0]
    assert lasting(after.records[1]) == lasting(before[1])


def test_fresh_starts_over_and_comes_out_the_same(tiny_suite: Suite, finished: Path) -> None:
    stranger = finished / "records" / "notes.txt"
    stranger.write_text("mine")
    before = run_suite(tiny_suite, finished, quiet=True).records
    after = run_suite(tiny_suite, finished, fresh=True, quiet=True)
    assert after.executed == 2
    assert [record.created for record in after.records] != [record.created for record in before]
    assert list(map(lasting, after.records)) == list(map(lasting, before))
    assert stranger.read_text() == "mine"


def test_other_conditions_make_other_records(tiny_suite: Suite, finished: Path) -> None:
    outcome = run_suite(tiny_suite.model_copy(update={"targets": (Target(flops_reduction=0.5),)}), finished, quiet=True)
    assert outcome.executed == 2
    assert len(RecordStore(finished / "records").all()) == 4
    assert len(list((finished / "base").iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"criteria": (CriterionSpec(name="hrank", settings={"batch_size": 0}),)}, "batch_size"),
        ({"criteria": (CriterionSpec(name="hrunk"),)}, "hrank"),
        ({"calibration_images": 5000}, "calibration_images"),
        ({"ignored_layers": ("no.such.layer",)}, "no.such.layer"),
        ({"model": Spec(name="digits-vgg", settings={"classes": 9})}, "DigitsVGG must give a tensor .N, 10., a number"),
    ],
)
def test_wrong_settings_show_before_any_training(
    tiny_suite: Suite, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    if "criteria" not in change:
        change = {"conditions": tiny_suite.conditions.model_copy(update=change)}
    executor = Watched()
    with pytest.raises(BenchmarkError, match=message):
        run_suite(tiny_suite.model_copy(update=change), tmp_path, executor=executor, quiet=True)
    assert executor.closed
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_missed_where_it_should_be(tiny_suite: Suite, tmp_path: Path) -> None:
    hardware = Hardware(device="cuda")
    with pytest.raises(HardwareError, match="torch sees 0"):
        run_suite(tiny_suite, tmp_path, hardware=hardware, quiet=True)
    # A cluster may have what this machine has not.
    prepared = prepare(tiny_suite, hardware=hardware, local=False)
    assert {run.setup.device for run in prepared.runs} == {"cuda"}


def test_every_criterion_of_a_seed_gets_the_same_calibration_images(
    tiny_suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = []
    monkeypatch.setattr(CRITERIA, "make", lambda spec, context: contexts.append(context))
    data = load_digits()
    suite = tiny_suite.model_copy(update={"seeds": 2})
    for inputs in plan(suite, data, Versions.installed()):
        single_run.criterion_for(inputs, data)
    first, second, third, fourth = (context.images for context in contexts)
    assert len(first) == tiny_suite.conditions.calibration_images
    assert torch.equal(first, second)
    assert torch.equal(third, fourth)
    assert not torch.equal(first, third)


def test_a_suite_on_given_weights(given_suite: Suite, data_root: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    suite = given_suite.model_copy(update={"seeds": 2})
    outcome = run_suite(suite, tmp_path / "out", data_root=data_root, fresh=True, write=lines.append)
    assert outcome.executed == 4
    assert not (tmp_path / "out" / "base").exists()
    plain, compensated = outcome.records[:2]
    assert {record.base_weights_hash for record in outcome.records} == {plain.inputs.setup.weights_hash}
    assert len({record.accuracy.base for record in outcome.records}) == 1
    assert plain.after == compensated.after
    assert all(record.accuracy.one_shot_bn is not None for record in outcome.records)
    assert plain.accuracy != compensated.accuracy
    assert plain.inputs.setup.reference == "l1"
    assert lines[0] == f"base weights: {data_root / 'weights' / 'small.safetensors'}"
    assert all("BN adjusted" in line for line in lines[1:])
    again = run_suite(suite, tmp_path / "out", data_root=data_root, quiet=True)
    assert (again.executed, again.records) == (0, outcome.records)


def test_a_sweep_on_given_weights_in_half_precision_ends(given_suite: Suite, data_root: Path, tmp_path: Path) -> None:
    """The network holds them in another precision, so their hash is not that of its own weights."""
    state = build_model(given_suite.conditions.model, seed=5).half().state_dict()
    save_file(state, data_root / "weights" / "small.safetensors")
    outcome = run_suite(given_suite, tmp_path / "out", data_root=data_root, quiet=True)
    assert outcome.executed == 2
    assert outcome.records[0].base_weights_hash != outcome.records[0].inputs.setup.weights_hash


def test_other_given_weights_make_other_records(given_suite: Suite, data_root: Path, tmp_path: Path) -> None:
    run_suite(given_suite, tmp_path / "out", data_root=data_root, quiet=True)
    path = data_root / "weights" / "small.safetensors"
    save_file(build_model(given_suite.conditions.model, seed=6).state_dict(), path)
    assert run_suite(given_suite, tmp_path / "out", data_root=data_root, quiet=True).executed == 2
    assert len(RecordStore(tmp_path / "out" / "records").all()) == 4


@pytest.mark.parametrize("problem", ["no root", "no file", "no weights", "another model"])
def test_weights_that_cannot_be_used_show_before_anything_runs(
    given_suite: Suite, data_root: Path, tmp_path: Path, problem: str
) -> None:
    path = data_root / "weights" / "small.safetensors"
    if problem == "no file":
        path.unlink()
    elif problem == "no weights":
        path.write_bytes(b"nothing")
    elif problem == "another model":
        save_file({"weight": torch.zeros(3)}, path)
    error = MissingFileError if problem in ("no root", "no file") else WeightsError
    with pytest.raises(error, match=r"small\.safetensors"):
        run_suite(given_suite, tmp_path / "out", data_root=None if problem == "no root" else data_root, quiet=True)
    assert not (tmp_path / "out").exists()


def test_final_networks_are_kept_for_load_pruned(tiny_suite: Suite, tmp_path: Path) -> None:
    suite = tiny_suite.model_copy(update={"seeds": 1})
    records = run_suite(suite, tmp_path, quiet=True, save_models=True).records
    assert len(list((tmp_path / "models").iterdir())) == len(records)
    data = load_digits()
    for record in records:
        file = (tmp_path / "models" / record.inputs.file_name).with_suffix(".safetensors")
        model = load_pruned(lambda: build_model(suite.conditions.model, seed=0), file)
        assert evaluate(model, data) == record.accuracy.fine_tuned
