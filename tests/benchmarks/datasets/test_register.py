from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foad_plugins.benchmarks.datasets import DATASETS, ImageData, load_dataset, load_digits
from foad_plugins.benchmarks.datasets.data_root import DataRoot, MissingFileError
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry.registry import Spec


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_digits()


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_all_digits_are_there_once(digits: ImageData) -> None:
    assert digits.train_images.shape == (1347, 1, 8, 8)
    assert digits.test_images.shape == (450, 1, 8, 8)
    assert not rows(digits.train_images) & rows(digits.test_images)
    assert digits.example.shape == (1, 1, 8, 8)


def test_every_class_has_its_share_in_the_test_part(digits: ImageData) -> None:
    test, train = digits.test_labels.bincount(), digits.train_labels.bincount()
    assert ((test / (test + train) - 0.25).abs() < 0.01).all()


def test_pixels_are_scaled_by_the_training_part(digits: ImageData) -> None:
    assert digits.train_images.mean().item() == pytest.approx(0, abs=1e-5)
    assert digits.train_images.std().item() == pytest.approx(1, abs=1e-5)
    assert abs(digits.test_images.mean().item()) > 1e-5


def test_the_split_seed_decides_the_split_and_the_hash(digits: ImageData) -> None:
    assert load_dataset(Spec(name="digits")).hash == digits.hash
    assert load_dataset(Spec(name="digits", settings={"split_seed": 1})).hash != digits.hash


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5])
def test_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(SettingsError, match="test_fraction"):
        load_dataset(Spec(name="digits", settings={"test_fraction": fraction}))


def test_user_defined_data(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "from foad_plugins.benchmarks.datasets import ImageData\n"
        "def load(root, count=4):\n"
        "    if count < 1: raise ValueError('count: too few')\n"
        "    images = torch.full((count, 1, 2, 2), float(root.file('number.txt').read_text()))\n"
        "    return ImageData(images, torch.arange(count), images, torch.arange(count))\n"
        "def other(root): return [1]\n"
    )
    (tmp_path / "number.txt").write_text("7")
    spec = DATASETS.complete(Spec(name=f"{path}:load"))
    assert spec.settings == {"count": 4}
    data = load_dataset(spec, DataRoot(tmp_path))
    assert (data.train_count, data.num_classes, float(data.example.max())) == (4, 4, 7)
    with pytest.raises(SettingsError, match="must give an ImageSource, got list"):
        load_dataset(Spec(name=f"{path}:other"), DataRoot(tmp_path))
    with pytest.raises(SettingsError, match="count: too few"):
        load_dataset(Spec(name=f"{path}:load", settings={"count": 0}), DataRoot(tmp_path))
    with pytest.raises(MissingFileError, match="--data-root"):
        load_dataset(spec)
