from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from foad_plugins.benchmarks.datasets import ImageFileError, StreamedData, load_dataset
from foad_plugins.benchmarks.datasets.data_root import DataRoot, MissingFileError
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry.registry import Spec

SCALE: dict[str, Any] = {"size": 12, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for name in ("n01", "n02", "n03"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (20, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.JPEG")
    return tmp_path


def load(root: Path, workers: int = 0, **settings: Any) -> StreamedData:
    name = settings.pop("name", "image-folder")
    if name == "image-folder":
        settings = {"stream": True, **SCALE, **settings}
    data = load_dataset(Spec(name=name, settings=settings), DataRoot(root))
    assert isinstance(data, StreamedData)
    data.workers = workers
    return data


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_augmentation_it_is_what_memory_would_hold(root: Path) -> None:
    streamed = load(root)
    held = load_dataset(Spec(name="image-folder", settings=SCALE), DataRoot(root))
    assert (streamed.train_count, streamed.test_count, streamed.num_classes) == (12, 6, 3)
    pairs = [
        (streamed.train_batches(5, seeded()), held.train_batches(5, seeded())),
        (streamed.test_batches(4), held.test_batches(4)),
        ([streamed.calibration(7, seed=3)], [held.calibration(7, seed=3)]),
    ]
    for found, expected in pairs:
        for (images, labels), (other_images, other_labels) in zip(found, expected, strict=True):
            assert torch.allclose(images, other_images, atol=1e-6)
            assert torch.equal(labels, other_labels)
    assert torch.allclose(streamed.example, held.example)


def test_augmentation_depends_on_the_generator_and_not_on_the_workers(root: Path) -> None:
    def epochs(workers: int, seed: int) -> list[torch.Tensor]:
        random = seeded(seed)
        data = load(root, workers)
        return [torch.cat([images for images, _ in data.train_batches(5, random, augment=True)]) for _ in range(2)]

    state = torch.get_rng_state()
    first, second = epochs(0, 1)
    assert first.shape == (12, 3, 12, 12)
    assert not torch.equal(first, second)
    assert torch.equal(first, epochs(2, 1)[0])
    assert not torch.equal(first, epochs(0, 2)[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_an_augmented_image_is_a_part_of_its_own(root: Path) -> None:
    for number, path in enumerate(sorted((root / "train").rglob("*.JPEG"))):
        Image.new("RGB", (16, 20), (20 * number, 0, 0)).save(path.with_suffix(".png"))
        path.unlink()
    data = load(root, mean=[0, 0, 0], std=[1, 1, 1])
    for images, labels in data.train_batches(5, seeded(), augment=True):
        for image, label in zip(images, labels, strict=True):
            colors = (image[0] * 255 / 20).round().unique().tolist()
            assert len(colors) == 1
            assert colors[0] // 4 == label


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_image_is_named_and_no_traceback_comes_with_it(root: Path, workers: int) -> None:
    path = root / "train" / "n02" / "1.JPEG"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageFileError) as error:
        list(load(root, workers).train_batches(5, seeded()))
    assert str(error.value).startswith(f"{path} is no readable image (")
    assert "\n" not in str(error.value)


def test_an_empty_file_is_found_before_anything_is_read(root: Path) -> None:
    (root / "val" / "n03" / "1.JPEG").write_bytes(b"")
    with pytest.raises(ImageFileError, match="n03/1.JPEG is empty"):
        load(root)


def test_the_hash_depends_on_files_and_sizes(root: Path) -> None:
    hashes = {load(root).hash, load(root, size=8).hash, load(root, limit_train=3).hash, load(root, std=[1, 1, 1]).hash}
    assert len(hashes) == 4
    assert load(root).hash in hashes
    (root / "train" / "n01" / "0.JPEG").rename(root / "train" / "n01" / "00.JPEG")
    assert load(root).hash not in hashes


def test_imagenet_as_torchvision_lays_it_out(root: Path) -> None:
    data = load(root, name="imagenet")
    assert data.example.shape == (1, 3, 224, 224)
    assert data.normalization.mean == (0.485, 0.456, 0.406)
    assert load(root, name="imagenet", size=8, resize=9, limit_test=4).test_count == 4
    (root / "val").rename(root / "test")
    with pytest.raises(MissingFileError, match="must hold the folders train and val, it lacks val"):
        load(root, name="imagenet")


def test_another_device(root: Path) -> None:
    data = load(root)
    assert data.to("cpu") is data
    moved = data.to("meta")
    assert moved.hash == data.hash
    assert next(moved.test_batches(2))[0].device.type == "meta"
    assert data.device.type == "cpu"


def test_numbers_out_of_range(root: Path) -> None:
    data = load(root)
    with pytest.raises(SettingsError, match="calibration_images: 1 to 12"):
        data.calibration(13, seed=0)
    with pytest.raises(SettingsError, match="batch_size"):
        data.train_batches(0, seeded())
    with pytest.raises(SettingsError, match="batch_size"):
        data.test_batches(0)
