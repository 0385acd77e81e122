from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foad_plugins.benchmarks.datasets import FacePairs, load_dataset
from foad_plugins.benchmarks.datasets.data_root import DataRoot, MissingFileError
from foad_plugins.benchmarks.datasets.faces.leakage import LeakError, training_photos
from foad_plugins.benchmarks.datasets.faces.photos import PhotoError, open_photos
from foad_plugins.benchmarks.datasets.faces.verification import verify
from foad_plugins.benchmarks.datasets.faces.view2 import read_pairs
from foad_plugins.benchmarks.errors import BenchmarkError, SettingsError
from foad_plugins.benchmarks.registry.registry import Spec
from tests.conftest import ROOT, data_file
from tests.helpers.faces_folder import PAIRED, PAIRS, PEOPLE, make_faces

SETTINGS = {"images": "lfw", "pairs": "pairs.txt", "align": "none", "size": [32, 32], "flip": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_faces(root / "lfw")
    (root / "pairs.txt").write_text(PAIRS)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "root"))


def lfw(root: Path, **changes: object) -> FacePairs:
    data = load_dataset(Spec(name="lfw", settings={**SETTINGS, **changes}), DataRoot(root))
    assert isinstance(data, FacePairs)
    return data


def faces(root: Path, **changes: object) -> FacePairs:
    data = load_dataset(Spec(name="faces-lfw", settings={**SETTINGS, "train": "casia", **changes}), DataRoot(root))
    assert isinstance(data, FacePairs)
    return data


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def learned(data: FacePairs) -> torch.Tensor:
    return torch.cat([images for images, _ in data.train_batches(4, torch.Generator())])


def pair_images(data: FacePairs) -> torch.Tensor:
    return torch.cat([images for images, _ in data.test_batches(4)])


@pytest.mark.parametrize("subset", ["unpaired", "disjoint"])
def test_no_photograph_of_the_pairs_is_used_for_training(made: Path, subset: str) -> None:
    data = lfw(made, subset=subset)
    left = sum(PEOPLE.values()) - len(PAIRED) if subset == "unpaired" else PEOPLE["Flo"] + PEOPLE["Gus"]
    assert data.train_count == left
    assert len(rows(learned(data))) == left
    assert not rows(learned(data)) & rows(pair_images(data))
    calibration, _ = data.calibration(left, seed=3)
    assert rows(calibration) == rows(learned(data))


def test_copies_of_a_tested_photograph_under_another_name_are_not_learnt_from(root: Path) -> None:
    shutil.copy(root / "lfw" / "Ann" / "Ann_0001.png", root / "lfw" / "Gus" / "Gus_0001.png")
    assert lfw(root).train_count == lfw(root, subset="unpaired").train_count == 7
    assert not rows(learned(lfw(root))) & rows(pair_images(lfw(root)))


def test_on_the_real_files_no_photograph_of_the_pairs_is_used_for_training() -> None:
    photos = open_photos(data_file("data/lfw-deepfunneled.tar"))
    view = read_pairs(ROOT / "data" / "lfw_pairs.txt")
    view.check(photos.names, "pairs")
    unpaired = training_photos(photos.names, view, "unpaired")
    disjoint = training_photos(photos.names, view, "disjoint")
    assert (len(photos.names), len(unpaired), len(disjoint)) == (13233, 5532, 5532 - 3983)
    assert not set(unpaired) & set(view.images)
    assert not {name.partition("/")[0] for name in disjoint} & view.people
    content = {photos.content(name) for name in view.images}
    assert not [name for name in unpaired if photos.content(name) in content]


def test_pixels_are_scaled_as_the_network_expects(made: Path) -> None:
    data = lfw(made)
    pixels = np.asarray(Image.open(made / "lfw" / "Ann" / "Ann_0001.png"), dtype=np.float32)
    expected = torch.from_numpy((pixels - 127.5) / 128).permute(2, 0, 1)
    assert torch.allclose(pair_images(data)[0], expected, atol=1e-6)
    assert rows(data.example) < rows(learned(data))


@pytest.mark.parametrize("flip", [False, True])
def test_it_is_evaluated_by_pairs(made: Path, flip: bool) -> None:
    data = lfw(made, flip=flip)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.ReLU(), nn.Flatten())
    images = pair_images(data)
    embedded = model(images)
    if flip:
        embedded = torch.cat([embedded, model(images.flip(3))], dim=1)
    expected = verify(embedded.detach().numpy(), data.view)
    model.train()
    found = data.evaluate(model, batch_size=4)
    assert not model.training
    assert found.accuracy == expected.accuracy
    assert found.verification.right == expected.verification.right
    assert data.test_count == 8


def test_a_changed_network_is_evaluated_again(made: Path) -> None:
    data = lfw(made)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    first = data.evaluate(model)
    assert data.evaluate(model) is first
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    assert data.evaluate(model).accuracy == 0.5


def test_a_network_without_embeddings(made: Path) -> None:
    with pytest.raises(SettingsError, match="Conv2d gives no embeddings of faces"):
        lfw(made).evaluate(nn.Conv2d(3, 4, 3))


def test_a_tar_file_holds_the_same_as_a_folder(root: Path) -> None:
    with tarfile.open(root / "lfw.tar", "w") as archive:
        archive.add(root / "lfw", "lfw-deepfunneled")
    assert lfw(root, images="lfw.tar").hash == lfw(root).hash


def test_a_compressed_tar_file(root: Path) -> None:
    with tarfile.open(root / "lfw.tgz", "w:gz") as archive:
        archive.add(root / "lfw", "lfw")
    with pytest.raises(PhotoError, match="no tar file without compression: unpack it"):
        lfw(root, images="lfw.tgz")


def test_the_hash_knows_images_and_pairs(root: Path) -> None:
    hashes = {lfw(root).hash, lfw(root, subset="disjoint").hash}
    (root / "pairs.txt").write_text(PAIRS.replace("Di\t2\tEd\t1", "Di\t1\tEd\t1"))
    hashes.add(lfw(root).hash)
    (root / "pairs.txt").write_text(PAIRS)
    Image.new("RGB", (32, 32)).save(root / "lfw" / "Gus" / "Gus_0001.png")
    hashes.add(lfw(root).hash)
    assert len(hashes) == 4


def test_fewer_pairs_to_try_things_out(made: Path) -> None:
    whole, short = lfw(made), lfw(made, limit_pairs=1)
    assert short.test_count == 4
    assert rows(pair_images(short)) < rows(pair_images(whole))
    assert short.train_count == whole.train_count


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"images": "nowhere"}, MissingFileError, "there are no photographs at '.*nowhere'"),
        ({"pairs": "nowhere.txt"}, MissingFileError, "nowhere.txt"),
        ({"images": "pairs.txt"}, PhotoError, "no tar file"),
        ({"subset": "all"}, SettingsError, "subset: 'unpaired' or 'disjoint'"),
        ({"align": "left"}, SettingsError, "align: 'centre', 'landmarks'"),
        ({"align": "landmarks"}, SettingsError, "landmarks: a file with align"),
        ({"landmarks": "points.txt"}, SettingsError, "landmarks: a file with align"),
        ({"size": [32]}, SettingsError, "size: height and width"),
        ({"align": "centre"}, PhotoError, r"Ann_0001\.png: it is 32x32 .* made for 250x250"),
        ({"size": [64, 64]}, PhotoError, r"Ann_0001\.png: it is 32x32 .* faces of 64x64 are expected"),
    ],
)
def test_settings_that_do_not_fit(
    made: Path, settings: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lfw(made, **settings)


def test_a_missing_photograph(root: Path) -> None:
    (root / "lfw" / "Bo" / "Bo_0002.png").unlink()
    with pytest.raises(
        BenchmarkError, match=r"pairs.txt names Bo/Bo_0002\.jpg, which the images lack: there are 2 of Bo"
    ):
        lfw(root)


def test_a_broken_photograph(root: Path) -> None:
    (root / "lfw" / "Bo" / "Bo_0002.png").write_bytes(b"nothing")
    with pytest.raises(BenchmarkError, match=r"Bo_0002\.png is no readable image"):
        lfw(root)


def test_two_photographs_of_one_name(root: Path) -> None:
    Image.new("RGB", (32, 32)).save(root / "lfw" / "Bo" / "Bo_0002.jpg")
    with pytest.raises(BenchmarkError, match="which have one name"):
        lfw(root)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="holds no images"):
        open_photos(tmp_path)
    with pytest.raises(PhotoError, match="neither a folder"):
        open_photos(tmp_path / "nowhere")


def test_no_photograph_left_to_train_on(made: Path) -> None:
    view = read_pairs(made / "pairs.txt")
    with pytest.raises(LeakError, match="too few"):
        training_photos(view.images, view, "unpaired")


def test_people_by_folder(root: Path) -> None:
    make_faces(root / "casia", {"0000045": 3, "0000099": 2}, size=(40, 36))
    data = faces(root)
    assert (data.train_count, data.num_classes, data.test_count) == (5, 2, 8)
    labels = torch.cat([labels for _, labels in data.train_batches(2, torch.Generator())])
    assert labels.bincount().tolist() == [3, 2]
    pixels = np.asarray(Image.open(root / "casia" / "0000045" / "0000045_0001.png"), dtype=np.float32)[4:36, 2:34]
    expected = torch.from_numpy((pixels - 127.5) / 128).permute(2, 0, 1)
    assert torch.allclose(data.pick(torch.tensor([0]))[0][0], expected, atol=1e-6)


def test_faces_without_labels(root: Path) -> None:
    make_faces(root / "casia", {"one": 1, "two": 2})
    Image.new("RGB", (32, 32)).save(root / "casia" / "loose.png")
    data = faces(root, identities=False)
    assert (data.train_count, data.num_classes) == (4, 1)
    with pytest.raises(BenchmarkError, match="loose is in no person's folder"):
        faces(root)


def test_a_person_with_one_face(root: Path) -> None:
    make_faces(root / "casia", {"one": 1, "two": 2, "three": 3})
    with pytest.raises(
        BenchmarkError, match="one has 1 face, fewer than 2: leave such folders out, or set fewest to 1"
    ):
        faces(root)
    assert faces(root, fewest=1).num_classes == 3
    with pytest.raises(SettingsError, match="fewest: at least 1"):
        faces(root, fewest=0)


def test_one_person_alone(root: Path) -> None:
    make_faces(root / "casia", {"two": 2})
    with pytest.raises(BenchmarkError, match="all of one person"):
        faces(root)


def test_photographs_of_the_pairs_must_not_be_in_a_folder_to_learn_from(root: Path) -> None:
    shutil.copytree(root / "lfw", root / "casia")
    with pytest.raises(LeakError, match="Ann/Ann_0001 and 8 more are in pairs of the test"):
        faces(root, fewest=1)
