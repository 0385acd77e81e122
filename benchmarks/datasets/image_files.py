"""Folders of image files, a folder a class, and the pixels of one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from ..errors import BenchmarkError
from .stratified import stratified_head

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder


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


def list_files(folder: Path, limit: int | None, setting: str) -> ImageFolder:
    """The images in the folders below ``folder``, a folder for each class.

    Args:
        folder: contains the classes' folders.
        limit: number of images, every class with its share; all if None.
        setting: name of the limit, for the message.

    Raises:
        ImageFileError: if there are no class folders, or one without an image.
        ValueError: a limit below 1.
    """
    from torchvision.datasets import ImageFolder

    try:
        files = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise ImageFileError(f"{folder} must hold a folder of images for each class: {error}") from None
    chosen = stratified_head(torch.tensor(files.targets), limit, setting).tolist()
    files.samples = [files.samples[number] for number in chosen]
    files.targets = [files.targets[number] for number in chosen]
    return files


def read_image(path: str, shape: Shape, seed: int | None = None) -> Tensor:
    """The pixels of a file, uint8 of shape (3, H, W).

    Args:
        path: of a format that Pillow reads; gray images and palettes become RGB.
        shape: the size of the result.
        seed: if given, a part of random place, size and proportion is resized to ``shape.size`` instead, and mirrored
            with probability one half (Szegedy et al. 2015), decided by this number alone.

    Raises:
        ImageFileError: if it cannot be read, or its pixels have more than 8 bits.
    """
    from torchvision.transforms import v2

    try:
        with Image.open(path) as file:
            if file.mode[0] in "IF":
                # Pillow would cut them off at 255, which leaves most such images white.
                raise ImageFileError(f"{path} has pixels of more than 8 bits (mode {file.mode}), save it with 8")
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).replace(f" '{path}'", "")
        raise ImageFileError(f"{path} is no readable image ({reason})") from None
    if shape.size is not None and seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            image = v2.RandomHorizontalFlip()(v2.RandomResizedCrop(shape.size)(image))
    elif shape.size is not None:
        image = v2.CenterCrop(shape.size)(v2.Resize(shape.resize or shape.size)(image))
    pixels: Tensor = v2.functional.pil_to_tensor(image)
    return pixels
