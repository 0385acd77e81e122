from __future__ import annotations

import hashlib
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from foad_plugins.benchmarks.datasets import load_dataset
from foad_plugins.benchmarks.datasets.data_root import DataRoot, MissingFileError
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry.registry import Spec

FILES = {"cifar10": (datasets.CIFAR10, "labels", 10), "cifar100": (datasets.CIFAR100, "fine_labels", 100)}


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set in torchvision's layout, small, with torchvision's checksums made to be its own."""
    name: str = request.param
    kind, key, classes = FILES[name]
    random = np.random.default_rng(0)

    def written(file: str, content: dict[str, Any]) -> list[str]:
        path = tmp_path / "some" / kind.base_folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(content))
        return [file, hashlib.md5(path.read_bytes()).hexdigest()]

    def batch(file: str, count: int) -> list[str]:
        pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        return written(file, {"data": pixels, key: [i * 7 % classes for i in range(count)]})

    names = ("data_batch_1", "data_batch_2") if name == "cifar10" else ("train",)
    monkeypatch.setattr(kind, "train_list", [batch(file, 20) for file in names])
    monkeypatch.setattr(kind, "test_list", [batch("test_batch", 12)])
    filename, digest = written("batches.meta", {kind.meta["key"]: [str(i) for i in range(classes)]})
    monkeypatch.setattr(kind, "meta", {"filename": filename, "key": kind.meta["key"], "md5": digest})
    return name


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refused)


def load(root: Path, name: str, **settings: Any) -> Any:
    return load_dataset(Spec(name=name, settings={"folder": "some", **settings}), DataRoot(root))


def test_pixels_labels_and_the_usual_normalisation(tmp_path: Path, name: str) -> None:
    kind, _, classes = FILES[name]
    data, theirs = load(tmp_path, name), kind(str(tmp_path / "some"), train=True)
    assert data.num_classes == classes
    assert data.test_count == 12
    assert data.train_labels.tolist() == theirs.targets
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (data.normalization.mean, data.normalization.deviation)
    )
    assert mean[0] == pytest.approx({"cifar10": 0.4914, "cifar100": 0.5071}[name])
    expected = (torch.from_numpy(theirs.data[3]).permute(2, 0, 1) / 255 - mean) / std
    assert torch.allclose(data.train_images[3], expected, atol=1e-6)


def test_limits(tmp_path: Path, name: str) -> None:
    data = load(tmp_path, name, limit_train=5, limit_test=3)
    assert (data.train_count, data.test_count) == (5, 3)
    assert len(set(data.train_labels.tolist())) == 5


def test_files_that_are_not_there_or_not_whole(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingFileError, match=f"{tmp_path}/other does not hold .*{name.upper()} .* set download"):
        load(tmp_path, name, folder="other")
    next((tmp_path / "some").rglob("test_batch")).write_bytes(b"other")
    with pytest.raises(MissingFileError, match="does not hold"):
        load(tmp_path, name)
    with pytest.raises(MissingFileError, match="--data-root"):
        load_dataset(Spec(name=name))


def test_a_download_that_fails(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingFileError, match="no network in tests"):
        load(tmp_path, name, folder="other", download=True)


def test_a_limit_out_of_range(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="limit_test: at least 1"):
        load(tmp_path, name, limit_test=0)
