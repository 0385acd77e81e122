"""CIFAR-10 and CIFAR-100 as torchvision keeps them."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from .data_root import DataRoot, MissingFileError
from .memory import ImageData
from .normalization import Normalization
from .register import register_dataset
from .stratified import stratified_head

NORMALIZATIONS = {
    "CIFAR10": Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "CIFAR100": Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
"""The usual mean and deviation of each color, by torchvision's name of the data."""


@register_dataset("cifar10")
def load_cifar10(
    root: DataRoot,
    folder: str = ".",
    download: bool = False,
    limit_train: int | None = None,
    limit_test: int | None = None,
) -> ImageData:
    """CIFAR-10 in torchvision's layout, normalized by the usual mean and deviation of each color.

    Args:
        root: folder with the user's files.
        folder: under the data root, with ``cifar-10-batches-py`` in it. torchvision unpickles only files whose
            checksum is that of the published ones.
        download: whether torchvision may download missing files.
        limit_train: number of training images to use, in equal parts of every class; all if None.
        limit_test: the same for the test part.

    Raises:
        MissingFileError: if the files are missing or not those that were published, or cannot be downloaded.
        ValueError: a limit below 1.
    """
    return _load("CIFAR10", root.path(folder), download, limit_train, limit_test)


@register_dataset("cifar100")
def load_cifar100(
    root: DataRoot,
    folder: str = ".",
    download: bool = False,
    limit_train: int | None = None,
    limit_test: int | None = None,
) -> ImageData:
    """CIFAR-100 in torchvision's layout; settings and errors as for ``cifar10``, the folder ``cifar-100-python``."""
    return _load("CIFAR100", root.path(folder), download, limit_train, limit_test)


def _load(name: str, path: Path, download: bool, *limits: int | None) -> ImageData:
    from torchvision import datasets

    tensors = []
    for part, limit in zip(("train", "test"), limits, strict=True):
        try:
            with warnings.catch_warnings():
                # The published pickles are of an age that numpy warns about.
                warnings.simplefilter("ignore")
                data = getattr(datasets, name)(str(path), train=part == "train", download=download)
        except (OSError, RuntimeError) as error:
            hint = "" if download else "; put them there or set download to true"
            raise MissingFileError(
                f"{path} does not hold torchvision's files of {name} whole ({error}){hint}"
            ) from None
        labels = torch.tensor(data.targets, dtype=torch.int64)
        chosen = stratified_head(labels, limit, f"limit_{part}")
        images = torch.from_numpy(data.data)[chosen].permute(0, 3, 1, 2).contiguous()
        tensors += [images, labels[chosen]]
    return ImageData(*tensors, normalization=NORMALIZATIONS[name], num_classes=len(data.classes))
