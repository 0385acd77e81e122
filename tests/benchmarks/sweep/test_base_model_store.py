from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from foad_plugins.benchmarks.datasets import load_digits
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.records.environment import Versions
from foad_plugins.benchmarks.records.schema import Setup
from foad_plugins.benchmarks.records.store import RecordWarning
from foad_plugins.benchmarks.runs.weights_file import WeightsFile
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.sweep.base_model_store import Base, BaseModelStore
from foad_plugins.benchmarks.sweep.runner import plan
from foad_plugins.benchmarks.sweep.worker import JobFailure


@pytest.fixture
def setup(tiny_suite: Suite) -> Setup:
    return plan(tiny_suite, load_digits(), Versions.installed())[0].setup


@pytest.fixture
def content(setup: Setup) -> bytes:
    return save(build_model(setup.conditions.model, seed=3).state_dict())


def test_a_trained_one_is_kept_in_a_file_for_all_later_sweeps(setup: Setup, content: bytes, tmp_path: Path) -> None:
    bases = BaseModelStore(tmp_path / "base", setup, None)
    assert bases.find(0) is None
    assert not list(tmp_path.iterdir())
    bases.add(0, content)
    expected = Base(content, WeightsFile.parse(content, "").hash)
    assert bases.find(0) == expected
    assert bases.find(1) is None
    assert BaseModelStore(tmp_path / "base", setup, None).find(0) == expected
    bases.keep({1})
    assert bases.find(0) == expected
    bases.remove([0, 1])
    bases.keep(set())
    assert bases.find(0) is None


def test_a_failed_training_leaves_no_file(setup: Setup, tmp_path: Path) -> None:
    bases = BaseModelStore(tmp_path / "base", setup, None)
    bases.add(0, JobFailure("it diverged", "details"))
    assert bases.find(0) == JobFailure("base model: it diverged", "details")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"nothing", save({"other": torch.zeros(2)})])
def test_a_file_that_cannot_be_used_is_trained_again(setup: Setup, content: bytes, tmp_path: Path) -> None:
    bases = BaseModelStore(tmp_path, setup, None)
    bases.path(0).write_bytes(content)
    with pytest.warns(RecordWarning, match="training again"):
        assert bases.find(0) is None


def test_given_weights_are_every_seeds(setup: Setup, tmp_path: Path) -> None:
    given = WeightsFile("mine.safetensors", {"weight": torch.ones(2)})
    bases = BaseModelStore(tmp_path, setup, given)
    assert bases.find(0) == bases.find(7) == Base(None, given.hash)
    bases.keep(set())
    assert bases.find(0) is not None
    bases.remove([0])
