"""Alignment by the eyes, which OpenCV's own cascades find (Viola and Jones 2001)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import BenchmarkError
from .alignment import CentreCrop, Points, similarity_to, template

__all__ = ["EyeCrop", "MissingOpenCVError", "choose_eyes"]

_CASCADE = "haarcascade_eye.xml"
_REACH = 22.0
"""Pixels between a found eye and where it is in most deep-funneled photographs, at most."""


class MissingOpenCVError(BenchmarkError):
    """OpenCV is asked for and not installed, or in a version without cascades."""


class EyeCrop(CentreCrop):
    """As the centre crop, but turned, scaled and shifted to where both eyes are found near their usual places.

    Photographs in which they are not found are cut out as by the centre crop.

    Args:
        size: height and width of the crops.
        trust: how much of the way from the usual places to the found ones the alignment goes, from 0 to 1.

    Raises:
        MissingOpenCVError: if there is no OpenCV, or none with cascades.
        ValueError: ``trust`` out of range.
    """

    def __init__(self, size: tuple[int, int], trust: float = 1.0) -> None:
        super().__init__(size)
        if not 0 <= trust <= 1:
            raise ValueError(f"trust: from 0 to 1, got {trust}")
        self._trust = trust
        self._cascade = _cascade_file()
        self._local = threading.local()
        places = template(size, points=2)
        self._places = places
        self._usual = np.array([self.in_photo(x, y) for x, y in places])

    def crop(self, photo: Image.Image, name: str) -> Image.Image:
        """The face by its eyes."""
        plain = super().crop(photo, name)
        eyes = choose_eyes(self._boxes(photo), self._usual)
        if eyes is None:
            return plain
        eyes = self._usual + self._trust * (eyes - self._usual)
        return similarity_to(eyes, self._places).warp(photo, self.size)

    def _boxes(self, photo: Image.Image) -> Points:
        import cv2

        # A cascade keeps what it is at inside itself, so every thread has one.
        if not hasattr(self._local, "cascade"):
            self._local.cascade = cv2.CascadeClassifier(str(self._cascade))
        gray = np.asarray(photo.convert("L"))
        found: Any = self._local.cascade.detectMultiScale(gray, scaleFactor=1.05, minNeighbors=3, minSize=(18, 18))
        return np.asarray(found, dtype=np.float64).reshape(-1, 4)


def choose_eyes(boxes: Points, usual: Points) -> Points | None:
    """The middle of the box that is nearest to either eye's usual place; None without one for each within reach.

    Args:
        boxes: (B, 4), left, top, width and height.
        usual: (2, 2), where the eyes mostly are.
    """
    if not len(boxes):
        return None
    middles = boxes[:, :2] + (boxes[:, 2:] - 1) / 2
    distances = np.linalg.norm(middles[:, None] - usual[None], axis=2)
    left, right = distances.argmin(0)
    # A box between the eyes may be within reach of both.
    if left == right or (distances.min(0) > _REACH).any():
        return None
    return middles[[left, right]]


def _cascade_file() -> Path:
    try:
        import cv2
        import cv2.data
    except ImportError:
        raise MissingOpenCVError(
            'align "eyes" needs OpenCV, which is not installed: pip install "foad-plugins[faces]"'
        ) from None
    path = Path(cv2.data.haarcascades) / _CASCADE
    if not hasattr(cv2, "CascadeClassifier") or not path.is_file():
        raise MissingOpenCVError(
            f'align "eyes" needs OpenCV 4, whose wheels have cascades, this is {cv2.__version__}: '
            'pip install "foad-plugins[faces]"'
        )
    return path
