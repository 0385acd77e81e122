"""Images and labels from a user's npz file, of any size and number of classes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .data_root import DataRoot
from .memory import ImageData
from .normalization import Normalization
from .register import register_dataset
from .stratified import stratified_head

_COLOURS = (1, 3)


@register_dataset("npz")
def load_npz(
    root: DataRoot,
    file: str,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    num_classes: int | None = None,
    limit_train: int | None = None,
    limit_test: int | None = None,
) -> ImageData:
    """Images and labels from an npz file under the data root.

    Args:
        root: folder with the user's files.
        file: holds ``train_images`` and ``test_images``, either uint8 of shape (N, H, W, C) or (N, H, W), or float of
            shape (N, C, H, W), and ``train_labels`` and ``test_labels``, integers of shape (N,) from 0.
        mean: of each channel, subtracted; of the training part if None. Pixels of type uint8 are divided by 255 before.
        std: deviation of each channel, divided by; of the training part if None.
        num_classes: one more than the highest training label if None.
        limit_train: number of training images to use, in equal parts of every class; all if None.
        limit_test: the same for the test part.

    Raises:
        MissingFileError: if there is no such file.
        ValueError: if it is no npz file, lacks an array, or holds one of another form; a setting out of range.
    """
    path = root.file(file)
    train_images, train_labels = read_part(path, "train", limit_train)
    test_images, test_labels = read_part(path, "test", limit_test)
    classes = int(train_labels.max()) + 1 if num_classes is None else num_classes
    try:
        normalization = Normalization.of(train_images, mean, std)
        if train_images.dtype != torch.uint8:
            train_images, test_images = normalization.apply(train_images), normalization.apply(test_images)
        return ImageData(
            train_images,
            train_labels,
            test_images,
            test_labels,
            normalization=normalization if train_images.dtype == torch.uint8 else None,
            num_classes=classes,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_part(path: Path, part: str, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W), uint8 or float32, and int64 labels (N,) of one part, ``"train"`` or ``"test"``."""
    images, labels = read_array(path, f"{part}_images"), read_array(path, f"{part}_labels")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        found = f"{labels.dtype} {labels.shape} beside images {images.shape}"
        raise ValueError(f"{path}: {part}_labels must be integers of shape (N,), got {found}")
    if not len(labels) or labels.min() < 0:
        raise ValueError(f"{path}: {part}_labels must be classes from 0, at least one")
    pixels = images.dtype == np.uint8
    channels, wrong = (3, 1) if pixels else (1, 3)
    gray = images.ndim == 3
    # Three columns of pixels and three colors have one form; a picture three pixels wide is unlikely.
    swapped = images.ndim == 4 and images.shape[channels] not in _COLOURS and images.shape[wrong] in _COLOURS
    if not (pixels or images.dtype.kind == "f") or images.ndim not in (3, 4) or swapped:
        wanted = "uint8 of shape (N, H, W, C) or (N, H, W), or float of shape (N, C, H, W)"
        raise ValueError(f"{path}: {part}_images must be {wanted}, got {images.dtype} {images.shape}")
    classes = torch.from_numpy(labels.astype(np.int64))
    chosen = stratified_head(classes, limit, f"limit_{part}")
    images = images[chosen.numpy()]
    if gray:
        images = images[..., None] if pixels else images[:, None]
    if pixels:
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), classes[chosen]
    if not np.isfinite(images).all():
        raise ValueError(f"{path}: {part}_images must be finite numbers, some are NaN or infinite")
    return torch.from_numpy(images.astype(np.float32)), classes[chosen]


_BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def read_array(path: Path, key: str) -> np.ndarray[Any, Any]:
    """The array of that name in an npz file; nothing is unpickled.

    Raises:
        ValueError: if it is no npz file, or holds no such array.
    """
    try:
        # Opened here, because numpy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file) as arrays:
            if key not in arrays.files:
                raise KeyError(f"{path} holds no array {key!r} (it holds: {', '.join(arrays.files) or 'none'})")
            array: np.ndarray[Any, Any] = arrays[key]
            return array
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    except (*_BROKEN, AttributeError, TypeError) as error:
        # A lone array, which an npy file holds, is no context manager.
        raise ValueError(f"{path} is no readable npz file ({error})") from None
