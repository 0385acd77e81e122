from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from foad_plugins.benchmarks.datasets import ImageData, load_digits
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.records.schema import Setup
from foad_plugins.benchmarks.records.store import RecordWarning
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.runs import base_models
from foad_plugins.benchmarks.runs.base_models import base_path, load_base, read_base, train_base
from foad_plugins.benchmarks.runs.weights_file import WeightsFile
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.suites.targets import Target
from foad_plugins.benchmarks.training.recipe import Recipe
from foad_plugins.benchmarks.training.train import evaluate, train

from ..conftest import MakeRecord


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_digits()


@pytest.fixture
def setup(make_record: MakeRecord) -> Setup:
    return make_record().inputs.setup


def conditions_changed(setup: Setup, **changes: object) -> Setup:
    return setup.model_copy(update={"conditions": setup.conditions.model_copy(update=changes)})


def test_it_is_the_seeded_model_trained_by_the_recipe(setup: Setup, data: ImageData) -> None:
    content = train_base(setup, data, 4, quiet=True)
    expected = build_model(setup.conditions.model, seed=4)
    assert setup.conditions.base_recipe is not None
    train(expected, data, setup.conditions.base_recipe, seed=4, quiet=True)
    base = load_base(setup, WeightsFile.parse(content, "base"), data)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in base.model.state_dict().items())
    assert base.accuracy == evaluate(expected, data)
    assert 0 < base.accuracy < 1
    assert not base.model.training
    assert train_base(setup, data, 4, quiet=True) == content
    assert train_base(setup, data, 5, quiet=True) != content


def test_a_file_gives_the_weights_back(tmp_path: Path, setup: Setup, data: ImageData) -> None:
    path = base_path(tmp_path, setup, 0)
    assert path.parent == tmp_path
    assert read_base(path, setup) is None
    content = train_base(setup, data, 0, quiet=True)
    path.write_bytes(content)
    read = read_base(path, setup)
    assert read is not None
    assert read.hash == WeightsFile.parse(content, "base").hash == load_base(setup, read, data).weights_hash


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "pickle", "other model", "folder"])
def test_a_file_that_cannot_be_used_is_warned_about(tmp_path: Path, setup: Setup, damage: str) -> None:
    path = base_path(tmp_path, setup, 0)
    state = build_model(setup.conditions.model, seed=0).state_dict()
    if damage == "truncated":
        path.write_bytes(save(state)[:-500])
    elif damage == "pickle":
        torch.save(build_model(setup.conditions.model, seed=0), path)
    elif damage == "other model":
        path.write_bytes(save({"weight": torch.zeros(3)}))
    elif damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"" if damage == "empty" else b"no weights at all")
    with pytest.warns(RecordWarning, match=f"{path.name}: base weights cannot be used, training again"):
        assert read_base(path, setup) is None


def test_the_name_depends_on_what_decides_the_weights_and_on_nothing_else(setup: Setup, tmp_path: Path) -> None:
    path = base_path(tmp_path, setup, 0)

    def changed(**changes: object) -> Path:
        return base_path(tmp_path, conditions_changed(setup, **changes), 0)

    recipe = Recipe(epochs=3, learning_rate=0.05)
    different = [
        changed(base_recipe=recipe),
        changed(threads=2),
        changed(limit_steps=2),
        base_path(tmp_path, setup, 1),
        *(
            base_path(tmp_path, setup.model_copy(update=update), 0)
            for update in ({"data_hash": "e" * 64}, {"device": "cuda"}, {"devices": 2}, {"precision": "bf16-mixed"})
        ),
    ]
    assert len({path, *different}) == 1 + len(different)
    assert changed(finetune_recipe=recipe, target=Target(flops_reduction=0.7), calibration_images=3) == path
    assert base_path(tmp_path, setup.model_copy(update={"suite": "other", "ranking": "global"}), 0) == path


def test_a_factory_far_down_makes_no_file_name_that_is_too_long(tmp_path: Path, setup: Setup) -> None:
    names = [f"{'deep/' * 60}{name}.py:make" for name in ("one", "two")]
    paths = [base_path(tmp_path, conditions_changed(setup, model=Spec(name=name)), 0) for name in names]
    assert len(set(paths)) == 2
    for path in paths:
        assert "-deep-" in path.name
        (tmp_path / f".{path.name}.lock").touch()


def test_given_weights_are_used_as_they_are(
    tmp_path: Path, setup: Setup, data: ImageData, given_suite: Suite, data_root: Path
) -> None:
    given = WeightsFile.read(data_root / "weights" / "small.safetensors")
    setup = setup.model_copy(update={"conditions": given_suite.tables()[0][0]})
    assert load_base(setup, given, data).weights_hash == given.hash
    with pytest.raises(ValueError, match="given and not trained"):
        base_path(tmp_path, setup, 0)


class Tied(nn.Module):
    """Two layers that share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x.flatten(1))))


def test_tied_weights_can_be_kept(setup: Setup, data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_models, "build_model", lambda spec, seed: Tied())
    base = load_base(setup, WeightsFile.parse(train_base(setup, data, 0, quiet=True), "base"), data)
    assert torch.equal(base.model.first.weight, base.model.second.weight)
