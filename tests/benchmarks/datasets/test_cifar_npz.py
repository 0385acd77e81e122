from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foad_plugins.benchmarks.datasets import ImageData, load_dataset
from foad_plugins.benchmarks.datasets.data_root import DataRoot, MissingFileError
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry.registry import Spec

from ...conftest import MEAN, ROOT, STD, data_file

SPEC = Spec(name="cifar10-npz")


def arrays(train: int = 6, test: int = 3) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    found: dict[str, np.ndarray[Any, Any]] = {}
    for part, count in (("train", train), ("test", test)):
        found[f"{part}_images"] = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        found[f"{part}_labels"] = random.integers(0, 10, count)
    return found


def load(folder: Path, content: dict[str, np.ndarray[Any, Any]]) -> ImageData:
    (folder / "data").mkdir(exist_ok=True)
    np.savez(folder / "data" / "cifar10_lossless.npz", **content)
    return load_dataset(SPEC, DataRoot(folder))


def test_images_are_normalised_and_channels_come_first(tmp_path: Path) -> None:
    content = arrays()
    data = load(tmp_path, content)
    assert data.train_images.shape == (6, 3, 32, 32)
    assert data.example.shape == (1, 3, 32, 32)
    assert data.train_images.is_contiguous()
    expected = (content["train_images"][2, 5, 7] / 255 - MEAN.flatten().numpy()) / STD.flatten().numpy()
    assert data.train_images[2, :, 5, 7].numpy() == pytest.approx(expected, rel=1e-5)
    assert data.test_labels.tolist() == content["test_labels"].tolist()
    assert data.test_labels.dtype == torch.int64


def test_another_file_can_be_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **arrays(train=2))
    spec = SPEC.model_copy(update={"settings": {"file": "mine.npz"}})
    assert len(load_dataset(spec, DataRoot(tmp_path)).train_images) == 2


def test_a_missing_file_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no file 'data/cifar10_lossless.npz' in the data root"):
        load_dataset(SPEC, DataRoot(tmp_path))
    with pytest.raises(MissingFileError, match="--data-root"):
        load_dataset(SPEC)


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("train_images", np.zeros((6, 28, 28, 3), np.uint8), r"uint8 of shape \(N, 32, 32, 3\), got .*28, 28"),
        ("train_images", np.zeros((6, 3, 32, 32), np.float32), r"uint8 of shape \(N, 32, 32, 3\), got torch.float32"),
        ("test_labels", np.array([0, 10, 1]), "test_labels must be classes from 0 to 9, got 10"),
    ],
)
def test_arrays_that_are_not_cifar(tmp_path: Path, key: str, array: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, {**arrays(), key: array})


def test_the_real_file() -> None:
    data_file("data/cifar10_lossless.npz")
    data = load_dataset(SPEC, DataRoot(ROOT))
    assert (len(data.train_images), len(data.test_images)) == (8068, 1017)
    assert data.train_images.mean().abs() < 0.05
    assert abs(float(data.train_images.std()) - 1.25) < 0.05
