"""How a face is cropped from a photograph, so that eyes and mouth are where the network expects them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .photos import PhotoError

Points = NDArray[np.float64]
"""(K, 2), x and y in pixels from the left upper corner."""

# Eyes, tip of the nose and corners of the mouth in 112 x 96 (height x width), as SphereFace (Liu et al. 2017) and its
# successors align faces; in 112 x 112 eight pixels further to the right, as in ArcFace (Deng et al. 2019).
_FIVE = ((30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041))


def template(size: tuple[int, int]) -> Points:
    """Where the points belong in a crop.

    Args:
        size: height and width; 112 x 96, or one that differs from it in margins of equal width on both sides.

    Returns:
        (5, 2), left eye of the picture first.
    """
    margin = np.array([(size[1] - 96) / 2, (size[0] - 112) / 2])
    return np.array(_FIVE) + margin


class Alignment(ABC):
    """Cuts faces out.

    Args:
        size: height and width of the crops.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    @abstractmethod
    def crop(self, photo: Image.Image, name: str) -> Image.Image:
        """The face in a photograph of that name, of the given size.

        Raises:
            PhotoError: if it cannot be cut out; the message need not name the photograph.
        """

    def __call__(self, photo: Image.Image, name: str) -> Tensor:
        """The face as uint8 of shape (3, H, W)."""
        face = self.crop(photo, name)
        return torch.from_numpy(np.array(face, dtype=np.uint8)).permute(2, 0, 1).contiguous()


class NoAlignment(Alignment):
    """Pictures that are faces already: of the size, or larger by margins that are cut off on all sides alike."""

    def crop(self, photo: Image.Image, name: str) -> Image.Image:
        """The middle of the picture."""
        height, width = self.size
        extra = photo.width - width, photo.height - height
        # What is larger than an aligned face with margins is a whole photograph.
        if min(extra) < 0 or max(extra) > 16:
            raise PhotoError(
                f"it is {photo.height}x{photo.width} (height x width) where aligned faces of {height}x{width} are "
                "expected, or up to 16 pixels more; for whole photographs choose an alignment"
            )
        left, top = extra[0] // 2, extra[1] // 2
        return photo.crop((left, top, left + width, top + height))


class CenterCrop(Alignment):
    """The same part of every photograph, for pictures in which all faces have one place, such as LFW deep-funneled.

    Args:
        size: height and width of the crops.
        scale: pixels of the crop for one of the photograph.
        centre: x and y in the photograph that become the middle of the crop.
        photo_size: height and width that photographs must have.
    """

    def __init__(
        self,
        size: tuple[int, int],
        scale: float = 0.84,
        centre: tuple[float, float] = (126.0, 117.0),
        photo_size: tuple[int, int] = (250, 250),
    ) -> None:
        super().__init__(size)
        self._photo_size = photo_size
        half = size[1] / scale / 2, size[0] / scale / 2
        self._box = (centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1])

    def crop(self, photo: Image.Image, name: str) -> Image.Image:
        """The part around the centre."""
        if (photo.height, photo.width) != self._photo_size:
            sizes = [f"{height}x{width}" for height, width in ((photo.height, photo.width), self._photo_size)]
            raise PhotoError(f"it is {sizes[0]} (height x width), the centre crop is made for {sizes[1]}")
        return photo.resize(self.size[::-1], Image.Resampling.BILINEAR, box=self._box)


@dataclass(frozen=True)
class Similarity:
    """Rotation, scale and shift of the plane, as complex numbers: a point z is mapped to ``turn * z + shift``."""

    turn: complex
    shift: complex

    def inverse(self) -> Similarity:
        """The way back."""
        return Similarity(1 / self.turn, -self.shift / self.turn)

    def warp(self, photo: Image.Image, size: tuple[int, int]) -> Image.Image:
        """The photograph mapped to the plane, (H, W) = ``size`` of it; black outside."""
        back = self.inverse()
        a, b = back.turn.real, back.turn.imag
        # Pillow asks at the middles of pixels, while points are counted from the middle of the first pixel.
        x = back.shift.real + 0.5 - (a - b) * 0.5
        y = back.shift.imag + 0.5 - (a + b) * 0.5
        return photo.transform(
            size[::-1], Image.Transform.AFFINE, (a, -b, x, b, a, y), resample=Image.Resampling.BILINEAR
        )


def similarity_to(points: Points | Sequence[Sequence[float]], places: Points) -> Similarity:
    """The similarity, without mirroring, that maps points nearest to their places by least squares (Umeyama 1991).

    Args:
        points: (K, 2), at least two that differ.
        places: (K, 2).

    Raises:
        ValueError: if all points are one, or they are not as many as the places.
    """
    z, w = (np.asarray(xy, dtype=np.float64) @ np.array([1, 1j]) for xy in (points, places))
    if z.shape != w.shape:
        raise ValueError(f"points: as many as places, got {len(z)} for {len(w)}")
    inner = z - z.mean()
    spread = float((np.abs(inner) ** 2).sum())
    if spread == 0 or not np.isfinite(spread):
        raise ValueError("points: at least two that differ, all finite")
    turn = complex((inner.conj() * (w - w.mean())).sum() / spread)
    return Similarity(turn, complex(w.mean() - turn * z.mean()))
