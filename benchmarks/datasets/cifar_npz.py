"""CIFAR-10, or a part of it, from a user's npz file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .cifar import NORMALIZATIONS
from .data_root import DataRoot
from .memory import ImageData
from .npz import read_part
from .register import register_dataset


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
    return ImageData(*read_cifar10(path, "train"), *read_cifar10(path, "test"), num_classes=10)


def read_cifar10(path: Path, part: str) -> tuple[Tensor, Tensor]:
    """Normalized images (N, 3, 32, 32) and int64 labels (N,) of one part, ``"train"`` or ``"test"``.

    Raises:
        ValueError: as for the data set.
    """
    images, labels = read_part(path, part)
    if images.dtype != torch.uint8 or images.shape[1:] != (3, 32, 32):
        found = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"{path}: {part}_images must be uint8 of shape (N, 32, 32, 3), got {found} (channels first)")
    if int(labels.max()) > 9:
        raise ValueError(f"{path}: {part}_labels must be classes from 0 to 9, got {int(labels.max())}")
    return NORMALIZATIONS["CIFAR10"].apply(images), labels
