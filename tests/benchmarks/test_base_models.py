from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foad_plugins.benchmarks import base_models
from foad_plugins.benchmarks.base_models import base_model, base_path
from foad_plugins.benchmarks.datasets import ImageData, load_digits
from foad_plugins.benchmarks.records import Setup
from foad_plugins.benchmarks.registry import Spec
from foad_plugins.benchmarks.store import RecordWarning
from foad_plugins.benchmarks.suite import Suite
from foad_plugins.benchmarks.training import Recipe, train
from foad_plugins.benchmarks.weights import WeightsFile

from .conftest import MakeRecord


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_digits()


@pytest.fixture
def setup(make_record: MakeRecord) -> Setup:
    return make_record().inputs.setup


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the trainings that took place."""
    seeds: list[int] = []

    def spy(*args: object, seed: int, **kwargs: object) -> None:
        seeds.append(seed)
        train(*args, seed=seed, **kwargs)

    monkeypatch.setattr(base_models, "train", spy)
    return seeds


def test_trained_once_and_then_read(tmp_path: Path, setup: Setup, data: ImageData, trainings: list[int]) -> None:
    first = base_model(tmp_path, setup, data, 4, quiet=True)
    again = base_model(tmp_path, setup, data, 4, quiet=True)
    assert trainings == [4]
    assert again.weights_hash == first.weights_hash
    assert again.accuracy == first.accuracy
    assert 0 < first.accuracy < 1
    assert not again.model.training
    assert base_model(tmp_path, setup, data, 5, quiet=True).weights_hash != first.weights_hash


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "other model", "pickle"])
def test_a_file_that_cannot_be_used_is_replaced(
    tmp_path: Path, setup: Setup, data: ImageData, trainings: list[int], damage: str
) -> None:
    first = base_model(tmp_path, setup, data, 0, quiet=True)
    path = base_path(tmp_path, setup, 0)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    elif damage == "other model":
        torch.save({"weight": torch.zeros(3)}, path)
    elif damage == "pickle":
        torch.save(Path("x"), path)
    else:
        path.write_bytes(b"" if damage == "empty" else b"no weights at all")
    with pytest.warns(RecordWarning, match=f"{path.name}: base weights cannot be used"):
        again = base_model(tmp_path, setup, data, 0, quiet=True)
    assert trainings == [0, 0]
    assert again.weights_hash == first.weights_hash
    assert base_model(tmp_path, setup, data, 0, quiet=True).weights_hash == first.weights_hash
    assert trainings == [0, 0]


def test_the_name_goes_by_what_decides_the_weights_and_by_nothing_else(setup: Setup, tmp_path: Path) -> None:
    path = base_path(tmp_path, setup, 0)

    def changed(**changes: object) -> Path:
        conditions = setup.conditions.model_copy(update=changes)
        return base_path(tmp_path, setup.model_copy(update={"conditions": conditions}), 0)

    recipe = Recipe(epochs=3, learning_rate=0.05)
    assert changed(base_recipe=recipe) != path
    assert changed(threads=2) != path
    assert base_path(tmp_path, setup, 1) != path
    assert base_path(tmp_path, setup.model_copy(update={"data_hash": "e" * 64}), 0) != path
    assert changed(finetune_recipe=recipe, flops_reduction=0.7, calibration_images=3) == path


def test_a_users_own_model_has_a_file_in_the_folder_too(setup: Setup, tmp_path: Path) -> None:
    paths = []
    for name in ("nets/mine.py:make", "nets-mine.py-make"):
        conditions = setup.conditions.model_copy(update={"model": Spec(name=name)})
        paths.append(base_path(tmp_path, setup.model_copy(update={"conditions": conditions}), 0))
    assert [path.parent for path in paths] == [tmp_path, tmp_path]
    assert paths[0].name.startswith("nets-mine.py-make-seed0-")
    assert paths[0] != paths[1]


def test_given_weights_are_the_same_for_every_seed_and_nothing_is_written(
    tmp_path: Path,
    setup: Setup,
    data: ImageData,
    given_suite: Suite,
    data_root: Path,
    trainings: list[int],
) -> None:
    setup = setup.model_copy(update={"conditions": given_suite.conditions})
    given = WeightsFile.read(data_root / "weights" / "small.safetensors")
    bases = [base_model(tmp_path / "base", setup, data, seed, given=given) for seed in (0, 1)]
    assert trainings == []
    assert bases[0].weights_hash == bases[1].weights_hash == given.hash
    assert not bases[0].model.training
    assert not (tmp_path / "base").exists()
    with pytest.raises(ValueError, match="given and not trained"):
        base_path(tmp_path, setup, 0)
