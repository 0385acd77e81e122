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
    with pytest.raises(MissingFileError, match="data/cifar10_lossless.npz, which is not under"):
        load_dataset(SPEC, DataRoot(tmp_path))
    with pytest.raises(MissingFileError, match="--data-root"):
        load_dataset(SPEC)


@pytest.mark.parametrize("key", ["train_images", "train_labels", "test_images", "test_labels"])
def test_a_missing_array_is_named_with_those_there_are(tmp_path: Path, key: str) -> None:
    content = arrays()
    del content[key]
    with pytest.raises(
        SettingsError, match=rf"cifar10_lossless.npz holds no array '{key}' \(it holds: \w+, \w+, \w+\)"
    ):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("train_images", np.zeros((6, 32, 32, 3)), "train_images must be uint8 .* got float64"),
        ("train_images", np.zeros((6, 3, 32, 32), np.uint8), r"got uint8 \(6, 3, 32, 32\)"),
        ("test_labels", np.zeros(3), "test_labels must be integers .* got float64"),
        ("test_labels", np.zeros(4, int), r"got int64 \(4,\) beside 3 images"),
        ("test_labels", np.array([0, 10, 1]), "test_labels must be classes from 0 to 9"),
        ("train_labels", np.array([object()] * 6), "no readable npz file"),
    ],
)
def test_arrays_of_another_form(tmp_path: Path, key: str, array: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, {**arrays(), key: array})


def test_a_part_without_images(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least one"):
        load(tmp_path, arrays(test=0))


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "npy"])
def test_files_that_are_no_npz(tmp_path: Path, kind: str) -> None:
    load(tmp_path, arrays())
    path = tmp_path / "data" / "cifar10_lossless.npz"
    if kind == "npy":
        np.save(tmp_path / "one.npy", np.zeros(3))
        path.write_bytes((tmp_path / "one.npy").read_bytes())
    else:
        path.write_bytes({"empty": b"", "text": b"images", "truncated": path.read_bytes()[:-50]}[kind])
    with pytest.raises(SettingsError, match=f"{path} is no readable npz file"):
        load_dataset(SPEC, DataRoot(tmp_path))


def test_the_real_file() -> None:
    data_file("data/cifar10_lossless.npz")
    data = load_dataset(SPEC, DataRoot(ROOT))
    assert (len(data.train_images), len(data.test_images)) == (8068, 1017)
    assert data.train_images.mean().abs() < 0.05
    assert abs(float(data.train_images.std()) - 1.25) < 0.05
