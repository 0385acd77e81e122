"""Folders of image files, a folder a class, and the pixels of one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import BenchmarkError
from .stratified import stratified_head

__all__ = ["ImageFileError", "ImageFiles", "Shape", "list_files", "read_image"]


class ImageFileError(BenchmarkError):
    """A file that is no image, or one that cannot be used; the message names it."""


@dataclass(frozen=True)
class Shape:
    """How images are resized to one size.

    Attributes:
        size: side of the square that is cropped from the middle; None for images that have one size already.
        resize: length of the shorter side before the crop; ``size`` if None.

    Raises:
        ValueError: a number below 1, ``resize`` without ``size`` or below it.
    """

    size: int | None = None
    resize: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"size: at least 1, got {self.size}")
        if self.resize is not None and (self.size is None or self.resize < self.size):
            raise ValueError(f"resize: with size, and at least as large, got {self.resize} with size {self.size}")


@dataclass(frozen=True)
class ImageFiles:
    """The images of one part.

    Attributes:
        folder: contains the classes' folders.
        names: of the files, relative to the folder.
        labels: (N,), int64.
        classes: names of the classes' folders, in the order of the labels.
    """

    folder: Path
    names: tuple[str, ...]
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, number: int) -> Path:
        """The file of an image."""
        return self.folder / self.names[number]

    def limited(self, limit: int | None, setting: str) -> ImageFiles:
        """The first ``limit`` images, every class with its share; all if None."""
        chosen = stratified_head(self.labels, limit, setting)
        names = tuple(self.names[number] for number in chosen.tolist())
        return ImageFiles(self.folder, names, self.labels[chosen], self.classes)


def list_files(folder: Path) -> ImageFiles:
    """The images in the folders below ``folder``, in the order of torchvision's ``ImageFolder``.

    Raises:
        ImageFileError: if there are no class folders, or one without an image.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        classes, numbers = find_classes(folder)
    except FileNotFoundError:
        raise ImageFileError(f"{folder} must hold a folder of images for each class, it holds no folder") from None
    found = make_dataset(folder, numbers, extensions=IMG_EXTENSIONS, allow_empty=True)
    labels = torch.tensor([label for _, label in found], dtype=torch.int64)
    counts = labels.bincount(minlength=len(classes))
    empty = [str(folder / name) for name, count in zip(classes, counts.tolist(), strict=True) if not count]
    if empty:
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise ImageFileError(f"{empty[0]}{more} holds no image ({', '.join(IMG_EXTENSIONS)})")
    start = len(str(folder)) + 1
    return ImageFiles(folder, tuple(path[start:] for path, _ in found), labels, tuple(classes))


def read_image(path: Path, shape: Shape, seed: int | None = None) -> Tensor:
    """The pixels of a file, uint8 of shape (3, H, W).

    Args:
        path: of a format that Pillow reads; gray images and palettes become RGB.
        shape: the size of the result.
        seed: if given, a part of random place, size and proportion is resized to ``shape.size`` instead, and mirrored
            with probability one half (Szegedy et al. 2015), decided by this number alone.

    Raises:
        ImageFileError: if it cannot be read, or its pixels have more than 8 bits.
    """
    from torchvision.transforms.v2 import functional as transforms

    try:
        with Image.open(path) as file:
            if file.mode[0] in "IF":
                # Pillow would cut them off at 255, which leaves most such images white.
                raise ImageFileError(f"{path} has pixels of more than 8 bits (mode {file.mode}), save it with 8")
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).replace(f" '{path}'", "")
        raise ImageFileError(f"{path} is no readable image ({reason})") from None
    if seed is not None and shape.size is not None:
        image = _random_part(image, shape.size, seed)
    elif shape.size is not None:
        side = shape.resize or shape.size
        if min(image.size) != side:
            image = transforms.resize(image, [side])
        if image.size != (shape.size, shape.size):
            image = transforms.center_crop(image, [shape.size, shape.size])
    pixels: Tensor = transforms.pil_to_tensor(image)
    return pixels


def _random_part(image: Any, size: int, seed: int) -> Any:
    from torchvision.transforms import v2

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return v2.RandomHorizontalFlip()(v2.RandomResizedCrop(size)(image))
