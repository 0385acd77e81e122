from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foad_plugins.benchmarks.datasets.faces.alignment import CenterCrop, NoAlignment, similarity_to, template
from foad_plugins.benchmarks.datasets.faces.landmarks import LandmarkCrop, LandmarksError, read_landmarks
from foad_plugins.benchmarks.datasets.faces.photos import PhotoError

SIZE = (112, 96)


def spots(points: list[tuple[float, float]], size: tuple[int, int] = (250, 250)) -> Image.Image:
    """Soft white spots on black, (height, width) = ``size``; points count from the middle of the first pixel."""
    row, column = np.indices(size)
    # No discs of Pillow's, which round a point to whole pixels.
    light = sum((np.exp(-((column - x) ** 2 + (row - y) ** 2) / 18) for x, y in points), np.zeros(size))
    return Image.fromarray((255 * light).round().clip(0, 255).astype(np.uint8)).convert("RGB")


def middle(face: Image.Image) -> tuple[float, float]:
    """Where the light is."""
    light = np.asarray(face.convert("L"), dtype=float)
    y, x = np.indices(light.shape)
    return float((x * light).sum() / light.sum()), float((y * light).sum() / light.sum())


def moved(points: np.ndarray, degrees: float, scale: float, shift: complex) -> np.ndarray:
    z = (points @ np.array([1, 1j])) * scale * np.exp(1j * math.radians(degrees)) + shift
    return np.stack([z.real, z.imag], axis=1)


def test_the_centre_crop_is_the_documented_one() -> None:
    crop = CenterCrop(SIZE)
    assert crop(spots([]), "x").shape == (3, 112, 96)
    # A point 10 pixels right of and 20 above (126, 117) lies 8.4 and 16.8 pixels from the middle of the crop.
    x, y = middle(crop.crop(spots([(136 - 0.5, 97 - 0.5)]), "x"))
    assert (x, y) == pytest.approx((48 + 8.4 - 0.5, 56 - 16.8 - 0.5), abs=0.1)


def test_larger_crops_show_more_at_the_sides() -> None:
    narrow, wide = CenterCrop(SIZE), CenterCrop((112, 112))
    photo = spots([(150, 120)])
    assert middle(wide.crop(photo, "x"))[0] == pytest.approx(middle(narrow.crop(photo, "x"))[0] + 8, abs=0.1)
    assert np.allclose(template((112, 112)) - template(SIZE), [8, 0])


@pytest.mark.parametrize("degrees", [0, 17, -120])
def test_a_similarity_is_found_again(degrees: float) -> None:
    places = template(SIZE)
    points = moved(places, degrees, 1.7, 30 + 12j)
    found = similarity_to(points, places)
    assert np.allclose(moved(points, math.degrees(np.angle(found.turn)), abs(found.turn), found.shift), places)
    back = found.inverse()
    assert back.turn * (found.turn * (3 + 4j) + found.shift) + back.shift == pytest.approx(3 + 4j)


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    places = template(SIZE)
    found = similarity_to(places * [-1, 1], places)
    errors = moved(places * [-1, 1], math.degrees(np.angle(found.turn)), abs(found.turn), found.shift) - places
    assert np.abs(errors).max() > 5


@pytest.mark.parametrize("point", range(5))
@pytest.mark.parametrize("degrees", [0, 25])
def test_landmarks_come_to_their_places(point: int, degrees: float) -> None:
    places = template(SIZE)
    points = moved(places, degrees, 1.3, 60 + 50j)
    crop = LandmarkCrop(SIZE, {"A/A_0001": points})
    face = crop.crop(spots([tuple(points[point])]), "A/A_0001")
    assert face.size == (96, 112)
    assert middle(face) == pytest.approx(tuple(places[point]), abs=0.3)


def test_landmarks_that_are_missing_or_all_one() -> None:
    crop = LandmarkCrop(SIZE, {"A/A_0001": np.ones((5, 2))})
    with pytest.raises(PhotoError, match="does not have it"):
        crop.crop(spots([]), "B/B_0001")
    with pytest.raises(PhotoError, match="at least two that differ"):
        crop.crop(spots([]), "A/A_0001")
    with pytest.raises(ValueError, match="as many as places"):
        similarity_to(np.ones((3, 2)), template(SIZE))


def test_files_of_landmarks(tmp_path: Path) -> None:
    path = tmp_path / "points.txt"
    path.write_bytes(b"lfw/A/A_0001.jpg 1 2 3 4 5 6 7 8 9 10\r\n\r\nB/B_0002.jpg,1,2,3,4,5,6,7,8,9,10.5\r\n")
    found = read_landmarks(path)
    assert found.keys() == {"A/A_0001", "B/B_0002"}
    assert found["A/A_0001"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert found["B/B_0002"][4, 1] == 10.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no landmarks"),
        (b"A/A_0001.jpg 1 2 3 4", r"txt:1: expected a name and ten numbers, got 'A/A_0001"),
        (b"A/A_0001.jpg 1 2 3 4 5 6 7 8 9 nan", "ten numbers"),
        (b"A/A_1.jpg 1 2 3 4 5 6 7 8 9 1\nA/A_1.png 1 2 3 4 5 6 7 8 9 1", "txt:2: A/A_1 is listed twice"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "points.txt"
    path.write_bytes(content)
    with pytest.raises(LandmarksError, match=message):
        read_landmarks(path)


def test_faces_as_they_are() -> None:
    assert NoAlignment(SIZE).crop(Image.new("RGB", (96, 112)), "x").size == (96, 112)
    assert middle(NoAlignment(SIZE).crop(spots([(56, 56)], (112, 112)), "x")) == pytest.approx((48, 56), abs=0.1)
    for wrong in ((95, 112), (250, 250)):
        with pytest.raises(PhotoError, match="aligned faces of 112x96 are expected"):
            NoAlignment(SIZE).crop(Image.new("RGB", wrong), "x")
