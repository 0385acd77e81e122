from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from foad_plugins.benchmarks.datasets import ImageData, ImageFileError, ImageSource, image_folder, load_dataset
from foad_plugins.benchmarks.datasets.data_root import DataRoot, MissingFileError
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry.registry import Spec

from ...conftest import data_file

CLASSES = ("ant", "bee", "cat")


def write(path: Path, size: tuple[int, int] = (10, 8), seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six training and three test images, 10 pixels wide and 8 high."""
    for label, name in enumerate(CLASSES):
        for number in range(2):
            write(tmp_path / "pets" / "train" / name / f"{number}.png", seed=10 * label + number)
        write(tmp_path / "pets" / "test" / name / "0.jpg", seed=50 + label)
    return tmp_path


def load(root: Path, **settings: Any) -> ImageSource:
    return load_dataset(Spec(name="image-folder", settings={"folder": "pets", **settings}), DataRoot(root))


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)


def test_files_become_normalised_images_in_the_order_of_their_names(root: Path) -> None:
    data = load(root, mean=[0, 0, 0], std=[1, 1, 1])
    assert isinstance(data, ImageData)
    assert (data.train_count, data.test_count, data.num_classes) == (6, 3, 3)
    assert data.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    for number, image in enumerate(data.train_images):
        file = root / "pets" / "train" / CLASSES[number // 2] / f"{number % 2}.png"
        assert torch.allclose(image, pixels(file) / 255)
    assert torch.allclose(data.example[0], pixels(root / "pets" / "test" / "ant" / "0.jpg") / 255)


def test_the_training_part_gives_mean_and_deviation(root: Path) -> None:
    data = load(root)
    assert data.train_images.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert data.train_images.std((0, 2, 3), unbiased=False).tolist() == pytest.approx([1, 1, 1], abs=1e-4)


def test_val_replaces_test(root: Path) -> None:
    before = load(root).hash
    (root / "pets" / "test").rename(root / "pets" / "val")
    assert load(root).hash == before


def test_images_are_cut_to_one_size(root: Path) -> None:
    write(root / "pets" / "train" / "ant" / "2.png", size=(30, 20), seed=77)
    with pytest.raises(
        ImageFileError, match=r"ant/2.png is 20x30 and .*ant/0.png is 8x10 \(height x width\): give size"
    ):
        load(root)
    data = load(root, size=8, mean=[0, 0, 0], std=[1, 1, 1])
    first, large = data.train_images[0], data.train_images[2]
    assert torch.allclose(first, pixels(root / "pets" / "train" / "ant" / "0.png")[:, :, 1:9] / 255)
    image = Image.open(root / "pets" / "train" / "ant" / "2.png").resize((12, 8), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[:, :, 2:10] / 255
    assert (large - expected).abs().max() < 2 / 255


def test_the_test_part_of_another_size(root: Path) -> None:
    for name in CLASSES:
        write(root / "pets" / "test" / name / "0.jpg", size=(12, 12))
    with pytest.raises(ImageFileError, match=r"test/ant/0.jpg is 12x12 and .*train/ant/0.png is 8x10"):
        load(root)


def test_grey_images_and_palettes_become_rgb(root: Path) -> None:
    path = write(root / "pets" / "train" / "ant" / "0.png", mode="L")
    write(root / "pets" / "train" / "ant" / "1.png", mode="P")
    data = load(root, mean=[0, 0, 0], std=[1, 1, 1])
    assert torch.allclose(data.train_images[0], pixels(path) / 255)
    assert torch.equal(data.train_images[0, 0], data.train_images[0, 2])


@pytest.mark.parametrize("kind", ["empty", "text", "truncated"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_corrupt_image_is_named(root: Path, kind: str, part: str) -> None:
    path = write(root / "pets" / part / "bee" / "0.jpg", size=(60, 60))
    path.write_bytes({"empty": b"", "text": b"an image", "truncated": path.read_bytes()[:700]}[kind])
    with pytest.raises(ImageFileError, match=f"{path} is no readable image"):
        load(root, size=8)


@pytest.mark.parametrize(("kind", "mode"), [("uint16", "I;16"), ("float32", "F")])
def test_pixels_that_eight_bits_cannot_hold(root: Path, kind: str, mode: str) -> None:
    path = root / "pets" / "train" / "ant" / "0.tif"
    Image.fromarray(np.full((8, 10), 300, kind)).save(path)
    with pytest.raises(ImageFileError, match=f"{path} has pixels of more than 8 bits .mode {mode}"):
        load(root)


@pytest.mark.parametrize("content", [False, True])
def test_a_class_without_images(root: Path, content: bool) -> None:
    (root / "pets" / "train" / "bee2").mkdir()
    if content:
        (root / "pets" / "train" / "bee2" / "notes.txt").write_text("none yet")
    with pytest.raises(ImageFileError, match="train must hold .* bee2.*jpg"):
        load(root)


@pytest.mark.parametrize(("part", "has"), [("train", "train"), ("test", "test")])
def test_a_class_in_one_part_only(root: Path, part: str, has: str) -> None:
    write(root / "pets" / part / "dog" / "0.png")
    with pytest.raises(ImageFileError, match=f"pets: the class 'dog' is only in {has}, both parts must have the same"):
        load(root)


def test_folders_that_are_not_there(root: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no folder 'dogs' in the data root"):
        load(root, folder="dogs")
    with pytest.raises(MissingFileError, match="must hold the folders train and test or val, it lacks train"):
        load(root, folder=".")
    (root / "pets" / "test").rename(root / "pets" / "else")
    with pytest.raises(MissingFileError, match="it lacks test or val"):
        load(root)
    (root / "pets" / "test").mkdir()
    with pytest.raises(ImageFileError, match="pets/test must hold a folder of images for each class"):
        load(root)


def test_limits(root: Path) -> None:
    (root / "pets" / "train" / "cat" / "1.png").write_text("not read, as it is not among the first")
    data = load(root, limit_train=4, limit_test=2)
    assert data.train_labels.tolist() == [0, 0, 1, 2]
    assert data.test_labels.tolist() == [0, 1]
    assert data.num_classes == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size: at least 1, got 0"),
        ({"resize": 9}, "resize: with size"),
        ({"size": 9, "resize": 8}, "resize: .* got 8 with size 9"),
        ({"mean": [0.5]}, "mean must hold 3 numbers"),
        ({"std": [0.5, 0, 1]}, "std above 0"),
        ({"limit_train": 0}, "limit_train: at least 1"),
        ({"stream": True}, "size, mean and std must be given"),
    ],
)
def test_settings_that_do_not_fit(root: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(root, **settings)


def test_more_than_memory_should_hold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "_MOST_BYTES", 6 * 3 * 80 - 1)
    with pytest.raises(SettingsError, match="the training images take .* set stream to true"):
        load(root)


def test_the_real_images(tmp_path: Path) -> None:
    with tarfile.open(data_file("data/cifar10_jpeg.tar.xz")) as archive:
        # The first few alone: to unpack all 60,000 takes long.
        members = itertools.islice((member for member in archive if member.isfile()), 12)
        found = [(Path(member.name), archive.extractfile(member).read()) for member in members]
    for number, (path, content) in enumerate(found):
        copy = tmp_path / "pets" / ("test" if number % 3 == 0 else "train") / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    data = load(tmp_path, mean=[0, 0, 0], std=[1, 1, 1])
    assert (data.train_count, data.test_count) == (8, 4)
    assert data.example.shape == (1, 3, 32, 32)
    with Image.open(io.BytesIO(found[0][1])) as image:
        assert torch.allclose(data.example[0], torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)
