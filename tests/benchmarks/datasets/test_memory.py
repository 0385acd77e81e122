from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from foad_plugins.benchmarks.datasets import ImageData, Normalization, load_dataset
from foad_plugins.benchmarks.datasets.data_root import DataRoot
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.recovery.training.augmentation import crop_and_flip

from ...conftest import ROOT, data_file

LEADERBOARDS = Path(__file__).resolve().parents[3] / "docs" / "leaderboards"
SCALE = Normalization((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensors(train: int = 11, test: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    random = seeded(9)
    parts: list[Tensor] = []
    for count in (train, test):
        parts.append(torch.randint(0, 256, (count, 3, 6, 8), generator=random, dtype=torch.uint8))
        parts.append(torch.arange(count) % 4)
    return parts[0], parts[1], parts[2], parts[3]


@pytest.fixture
def data() -> ImageData:
    return ImageData(*tensors(), normalization=SCALE)


def normalized(images: Tensor) -> Tensor:
    result = torch.empty(images.shape)
    for image, out in zip(images, result, strict=True):
        for channel in range(3):
            out[channel] = (image[channel] / 255 - SCALE.mean[channel]) / SCALE.deviation[channel]
    return result


def test_bytes_are_normalised_as_they_are_read(data: ImageData) -> None:
    train_images, train_labels, test_images, test_labels = tensors()
    assert torch.allclose(data.train_images, normalized(train_images), atol=1e-6)
    assert torch.allclose(data.example, normalized(test_images[:1]), atol=1e-6)
    images, labels = map(torch.cat, zip(*data.test_batches(2), strict=True))
    assert torch.equal(images, data.test_images)
    assert torch.equal(labels, test_labels)
    assert torch.equal(data.train_labels, train_labels)
    assert (data.train_count, data.test_count, data.num_classes) == (11, 5, 4)


def test_an_epoch_is_what_a_plain_loop_makes_of_it(data: ImageData) -> None:
    random, expected_random = seeded(), seeded()
    for _ in range(2):
        order = torch.randperm(11, generator=expected_random)
        found = list(data.train_batches(4, random, augment=True))
        assert [len(labels) for _, labels in found] == [4, 4, 3]
        for (images, labels), chosen in zip(found, order.split(4), strict=True):
            assert torch.equal(labels, data.train_labels[chosen])
            assert torch.equal(images, crop_and_flip(data.train_images[chosen], expected_random))


def test_without_augmentation_every_image_comes_once_as_it_is(data: ImageData) -> None:
    images, labels = map(torch.cat, zip(*data.train_batches(4, seeded()), strict=True))
    order = torch.randperm(11, generator=seeded())
    assert torch.equal(images, data.train_images[order])
    assert torch.equal(labels, data.train_labels[order])


@pytest.mark.parametrize(("size", "expected"), [(5, [5, 6]), (4, [4, 4, 3]), (20, [11]), (1, [1] * 11)])
def test_a_lone_last_image_joins_the_batch_before(data: ImageData, size: int, expected: list[int]) -> None:
    assert [len(labels) for _, labels in data.train_batches(size, seeded())] == expected


@pytest.mark.parametrize("size", [0, -1])
def test_batches_of_no_image(data: ImageData, size: int) -> None:
    # At once, and not when the first batch is asked for.
    with pytest.raises(SettingsError, match=f"batch_size: at least 1, got {size}"):
        data.train_batches(size, seeded())
    with pytest.raises(SettingsError, match="batch_size"):
        data.test_batches(size)


def test_calibration_images_have_their_own_labels(data: ImageData) -> None:
    images, labels = data.calibration(6, seed=2)
    rows = [next(i for i in range(11) if torch.equal(data.train_images[i], image)) for image in images]
    assert len(set(rows)) == 6
    assert torch.equal(labels, data.train_labels[rows])


def test_the_global_random_state_is_unchanged(data: ImageData) -> None:
    state = torch.get_rng_state()
    list(data.train_batches(4, seeded(), augment=True))
    data.calibration(3, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_hash_depends_on_pixels_labels_and_scale(data: ImageData) -> None:
    assert ImageData(*tensors(), normalization=SCALE).hash == data.hash
    images, labels, *test = tensors()
    other = Normalization(SCALE.mean, (0.2, 0.25, 0.31))
    flipped = images.clone()
    flipped[3, 2, 1, 0] ^= 1
    hashes = {
        data.hash,
        ImageData(images, labels, *test, normalization=other).hash,
        ImageData(flipped, labels, *test, normalization=SCALE).hash,
        ImageData(images, labels.flip(0), *test, normalization=SCALE).hash,
    }
    assert len(hashes) == 4


@pytest.mark.parametrize("suite", ["quickstart", "cifar10-resnet56-compensation"])
def test_hashes_in_committed_records_still_hold(suite: str) -> None:
    setup = json.loads(min((LEADERBOARDS / suite / "records").glob("*.json")).read_text())["inputs"]["setup"]
    spec = Spec(**setup["conditions"]["dataset"])
    if spec.name != "digits":
        data_file(spec.settings["file"])
    assert load_dataset(spec, DataRoot(ROOT)).hash == setup["data_hash"]


def test_another_device(data: ImageData) -> None:
    assert data.to("cpu") is data
    before = data.hash
    moved = data.to("meta")
    assert moved.device.type == "meta"
    assert moved.hash == before
    assert moved.num_classes == 4


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"test_labels": torch.zeros(3, dtype=torch.int64)}, ValueError, "test part has 5 images but 3 labels"),
        ({"train_labels": torch.zeros(11)}, TypeError, "labels of the train part must be integers, got torch.float32"),
        ({"train_labels": torch.full((11,), -1)}, ValueError, "classes from 0, got -1"),
        ({"train_labels": torch.full((11,), 4), "num_classes": 4}, ValueError, "classes from 0 to 3, got 4"),
        ({"train_labels": torch.zeros(11, 1, dtype=torch.int64)}, ValueError, r"labels \(N,\), got .*\(11, 1\)"),
        ({"test_images": torch.zeros(5, 3, 6, 6, dtype=torch.uint8)}, ValueError, r"alike, .*\(3, 6, 8\).*\(3, 6, 6\)"),
        ({"test_images": torch.zeros(5, 3, 6, 8, dtype=torch.int32)}, TypeError, "float or uint8, got torch.int32"),
        ({"normalization": None}, ValueError, "uint8 images need a normalization"),
        ({"train_images": torch.zeros(11, 3, 6, 8)}, ValueError, "float images none"),
        (
            {"test_images": torch.zeros(0, 3, 6, 8, dtype=torch.uint8), "test_labels": torch.zeros(0).long()},
            ValueError,
            "the test part has no images",
        ),
    ],
)
def test_what_is_no_data(change: dict[str, object], kind: type[Exception], message: str) -> None:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    arguments = {**dict(zip(names, tensors(), strict=True)), "normalization": SCALE, **change}
    with pytest.raises(kind, match=message):
        ImageData(**arguments)
