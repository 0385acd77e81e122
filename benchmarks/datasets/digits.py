"""Handwritten digits, part of scikit-learn."""

from __future__ import annotations

import torch
from sklearn import datasets as sklearn_datasets
from sklearn.model_selection import train_test_split

from .data_root import DataRoot
from .memory import ImageData
from .register import register_dataset


@register_dataset("digits")
def load_digits(root: DataRoot | None = None, test_fraction: float = 0.25, split_seed: int = 0) -> ImageData:
    """scikit-learn's 1,797 real handwritten digits, 8x8 gray; nothing is downloaded.

    Every class has the same share in both parts. Pixels are shifted and scaled by the training part's mean
    and standard deviation.

    Args:
        root: not used.
        test_fraction: share of the images that is held out, in (0, 1).
        split_seed: of the split; keep it fixed so that all runs are tested on the same images.

    Raises:
        ValueError: if ``test_fraction`` is out of range.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction: a number between 0 and 1, got {test_fraction!r}")
    pixels, classes = sklearn_datasets.load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, classes, test_size=test_fraction, random_state=split_seed, stratify=classes
    )
    train_images, test_images = (torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) for x in (train_x, test_x))
    mean, deviation = train_images.mean(), train_images.std()
    return ImageData(
        train_images=(train_images - mean) / deviation,
        train_labels=torch.tensor(train_y, dtype=torch.int64),
        test_images=(test_images - mean) / deviation,
        test_labels=torch.tensor(test_y, dtype=torch.int64),
        num_classes=10,
    )
