"""Alignment by points in the face, from a user's file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import BenchmarkError
from .alignment import Alignment, Points, similarity_to, template
from .photos import PhotoError


class LandmarksError(BenchmarkError, ValueError):
    """A file of landmarks that cannot be used; the message names file and line."""


def read_landmarks(path: Path) -> dict[str, Points]:
    """Five points for each photograph: left eye of the picture, right eye, tip of the nose, corners of the mouth.

    A line holds a photograph's name, ``PERSON/PERSON_0001.jpg``, and x and y of the five points in its pixels, all
    separated by spaces, tabs or commas. Only the last two parts of a path count, and file endings do not.

    Returns:
        (5, 2) by name without ending.

    Raises:
        LandmarksError: if a line is none of this kind, or a photograph is listed twice.
    """
    found: dict[str, Points] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise LandmarksError(f"{path} is no file of landmarks: it is not UTF-8 text") from None
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        try:
            points = [float(word) for word in words[1:]]
        except ValueError:
            points = []
        if len(points) != 10 or not all(map(math.isfinite, points)):
            raise LandmarksError(f"{path}:{number}: expected a name and ten numbers, got {line[:60]!r}")
        name = str(Path(*Path(words[0]).parts[-2:]).with_suffix("").as_posix())
        if name in found:
            raise LandmarksError(f"{path}:{number}: {name} is listed twice")
        found[name] = np.array(points).reshape(5, 2)
    if not found:
        raise LandmarksError(f"{path} holds no landmarks")
    return found


class LandmarkCrop(Alignment):
    """Maps each face's five points to the template as closely as a similarity can.

    Args:
        size: height and width of the crops.
        landmarks: as :func:`read_landmarks` gives them.
    """

    def __init__(self, size: tuple[int, int], landmarks: Mapping[str, Points]) -> None:
        super().__init__(size)
        self._landmarks = landmarks

    def crop(self, photo: Image.Image, name: str) -> Image.Image:
        """The face by its points."""
        if name not in self._landmarks:
            raise PhotoError("the file of landmarks does not have it")
        try:
            similarity = similarity_to(self._landmarks[name], template(self.size))
        except ValueError as error:
            raise PhotoError(f"its landmarks cannot be used ({error})") from None
        return similarity.warp(photo, self.size)
