"""CIFAR-10, or a part of it, from a user's npz file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .data_root import DataRoot
from .memory import ImageData
from .npz import read_array
from .register import register_dataset

__all__ = ["load_cifar10_npz", "read_part"]

_MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
_DEVIATION = torch.tensor([0.2023, 0.1994, 0.2010]).view(3, 1, 1)


@register_dataset("cifar10-npz")
def load_cifar10_npz(root: DataRoot, file: str = "data/cifar10_lossless.npz") -> ImageData:
    """CIFAR-10 from an npz file under the data root, normalized by the usual mean and deviation of each color.

    Args:
        root: folder with the user's files.
        file: holds ``train_images`` and ``test_images``, uint8 of shape (N, 32, 32, 3), and ``train_labels`` and
            ``test_labels``, integers of shape (N,) from 0 to 9.

    Raises:
        MissingFileError: if there is no such file.
        ValueError: if it is no npz file, lacks an array, or holds one of another form.
    """
    path = root.file(file)
    train_images, train_labels = read_part(path, "train")
    test_images, test_labels = read_part(path, "test")
    return ImageData(train_images, train_labels, test_images, test_labels, num_classes=10)


def read_part(path: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalized images (N, 3, 32, 32) and int64 labels (N,) of one part, ``"train"`` or ``"test"``.

    Raises:
        ValueError: as for the data set.
    """
    images, labels = read_array(path, f"{part}_images"), read_array(path, f"{part}_labels")
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        found = f"{images.dtype} {images.shape}"
        raise ValueError(f"{path}: {part}_images must be uint8 of shape (N, 32, 32, 3), got {found}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        found = f"{labels.dtype} {labels.shape} beside {len(images)} images"
        raise ValueError(f"{path}: {part}_labels must be integers of shape (N,), got {found}")
    if not len(labels) or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{path}: {part}_labels must be classes from 0 to 9, at least one")
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return ((pixels - _MEAN) / _DEVIATION).contiguous(), torch.from_numpy(labels.astype(np.int64))
