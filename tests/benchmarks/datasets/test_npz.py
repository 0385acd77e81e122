from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foad_plugins.benchmarks.datasets import ImageData, load_dataset
from foad_plugins.benchmarks.datasets.data_root import DataRoot
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry.registry import Spec

from ...conftest import ROOT, data_file

Arrays = dict[str, np.ndarray[Any, Any]]


def arrays(shape: tuple[int, ...] = (6, 7, 3), kind: str = "uint8") -> Arrays:
    random = np.random.default_rng(0)
    found: Arrays = {}
    for part, count in (("train", 9), ("test", 4)):
        pixels = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        found[f"{part}_images"] = pixels if kind == "uint8" else pixels.astype(kind) / 50
        found[f"{part}_labels"] = np.arange(count) % 3
    return found


def load(folder: Path, content: Arrays, **settings: Any) -> ImageData:
    np.savez_compressed(folder / "mine.npz", **content)
    data = load_dataset(Spec(name="npz", settings={"file": "mine.npz", **settings}), DataRoot(folder))
    assert isinstance(data, ImageData)
    return data


@pytest.mark.parametrize(
    ("shape", "kind", "expected"),
    [
        ((6, 7, 3), "uint8", (3, 6, 7)),
        ((6, 7), "uint8", (1, 6, 7)),
        ((6, 7, 1), "uint8", (1, 6, 7)),
        ((3, 6, 7), "float32", (3, 6, 7)),
        ((6, 7), "float64", (1, 6, 7)),
        ((3, 6, 7), "float16", (3, 6, 7)),
    ],
)
def test_every_form_comes_out_normalised(
    tmp_path: Path, shape: tuple[int, ...], kind: str, expected: tuple[int, ...]
) -> None:
    content = arrays(shape, kind)
    data = load(tmp_path, content)
    assert data.train_images.shape == (9, *expected)
    assert data.train_images.dtype == torch.float32
    assert data.num_classes == 3
    assert data.test_labels.tolist() == [0, 1, 2, 0]
    mean = data.train_images.mean((0, 2, 3))
    assert mean.tolist() == pytest.approx([0] * expected[0], abs=1e-5)
    assert float(data.train_images.std(unbiased=False)) == pytest.approx(1, abs=1e-3)
    pixels = content["train_images"].astype(np.float64)
    moved = {"uint8": pixels.reshape(9, 6, 7, -1).transpose(0, 3, 1, 2)}.get(kind, pixels.reshape(9, -1, 6, 7))
    axes = (0, 2, 3)
    scaled = (moved - moved.mean(axes, keepdims=True)) / moved.std(axes, keepdims=True)
    assert np.abs(data.train_images.numpy() - scaled).max() < 2e-3


def test_mean_and_deviation_can_be_given(tmp_path: Path) -> None:
    content = arrays()
    data = load(tmp_path, content, mean=[0, 0, 0], std=[1, 1, 0.5], num_classes=5)
    assert torch.allclose(data.train_images[2, 2], torch.from_numpy(content["train_images"][2, :, :, 2]) / 127.5)
    assert data.num_classes == 5


@pytest.mark.parametrize("mean", [0.5, "abc", [0.5, 0.5], ["a", "b", "c"], [None, 0, 0]])
def test_a_mean_that_is_not_a_number_for_each_channel(tmp_path: Path, mean: object) -> None:
    with pytest.raises(SettingsError, match=f"mean must hold 3 numbers, one a channel, got {re.escape(repr(mean))}"):
        load(tmp_path, arrays(), mean=mean)


def test_limits_leave_every_class_its_share(tmp_path: Path) -> None:
    data = load(tmp_path, arrays(), limit_train=6, limit_test=2)
    assert data.train_labels.bincount().tolist() == [2, 2, 2]
    assert data.test_count == 2
    with pytest.raises(SettingsError, match="limit_test: at least 1"):
        load(tmp_path, arrays(), limit_test=0)
    with pytest.raises(SettingsError, match="limit_train: at least 1, or None for all, got '6'"):
        load(tmp_path, arrays(), limit_train="6")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": np.zeros((9, 6, 7, 3), np.int32)}, "train_images must be uint8 .* got int32"),
        ({"train_images": np.zeros((9, 3, 16, 17), np.uint8)}, r"train_images must be .* got uint8 \(9, 3, 16, 17\)"),
        ({"train_images": np.zeros((9, 16, 17, 3))}, r"train_images must be .* got float64 \(9, 16, 17, 3\)"),
        ({"train_images": np.zeros((9, 6), np.uint8)}, r"got uint8 \(9, 6\)"),
        ({"test_images": np.zeros((4, 6, 8, 3), np.uint8)}, r"must be alike, got .*\(3, 6, 7\) and .*\(3, 6, 8\)"),
        ({"test_labels": np.zeros(4)}, "test_labels must be integers of shape .* got float64"),
        ({"test_labels": np.zeros(5, int)}, r"test_labels must be integers .*\(5,\) beside images \(4, "),
        ({"train_labels": np.full(9, -1)}, "train_labels must be classes from 0"),
        ({"test_labels": np.array([0, 1, 2, 3])}, "labels must be classes from 0 to 2, got 3"),
        ({"test_images": np.zeros((0, 6, 7, 3), np.uint8), "test_labels": np.zeros(0, int)}, "at least one"),
        ({"train_images": np.zeros((9, 6, 7, 3), np.uint8)}, "std above 0"),
        ({"train_labels": np.array([object()] * 9)}, "no readable npz file"),
    ],
)
def test_arrays_of_another_form(tmp_path: Path, change: Arrays, message: str) -> None:
    with pytest.raises(SettingsError, match=rf"mine\.npz.*{message}"):
        load(tmp_path, {**arrays(), **change})


def test_numbers_that_are_none(tmp_path: Path) -> None:
    content = arrays((3, 6, 7), "float32")
    content["test_images"][1, 2, 3, 4] = np.nan
    with pytest.raises(SettingsError, match="test_images must be finite"):
        load(tmp_path, content)


def test_labels_above_the_number_of_classes(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="labels must be classes from 0 to 1, got 2"):
        load(tmp_path, arrays(), num_classes=2)


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "npy"])
def test_files_that_are_no_npz(tmp_path: Path, kind: str) -> None:
    load(tmp_path, arrays())
    path = tmp_path / "mine.npz"
    if kind == "npy":
        np.save(tmp_path / "one.npy", np.zeros(3))
        (tmp_path / "one.npy").rename(path)
    else:
        path.write_bytes({"empty": b"", "text": b"images", "truncated": path.read_bytes()[:-100]}[kind])
    with pytest.raises(SettingsError, match=f"{path} is no readable npz file"):
        load_dataset(Spec(name="npz", settings={"file": "mine.npz"}), DataRoot(tmp_path))


@pytest.mark.parametrize("key", ["train_images", "train_labels", "test_images", "test_labels"])
def test_a_missing_array_is_named_with_those_there_are(tmp_path: Path, key: str) -> None:
    content = arrays()
    del content[key]
    with pytest.raises(SettingsError, match=rf"mine.npz holds no array '{key}' \(it holds: \w+, \w+, \w+\)"):
        load(tmp_path, content)


def test_the_real_file_reads_as_by_its_own_loader() -> None:
    data_file("data/cifar10_lossless.npz")
    scale = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}
    spec = Spec(name="npz", settings={"file": "data/cifar10_lossless.npz", "limit_train": 20, **scale})
    data, own = load_dataset(spec, DataRoot(ROOT)), load_dataset(Spec(name="cifar10-npz"), DataRoot(ROOT))
    assert data.test_count == own.test_count == 1017
    (images, labels), (expected, own_labels) = (next(source.test_batches(64)) for source in (data, own))
    assert torch.equal(images, expected)
    assert torch.equal(labels, own_labels)
