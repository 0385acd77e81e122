"""From a dataset's name and settings to images in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from ..data_root import DataRoot
from ..errors import SettingsError
from ..files import hash_tensors
from ..registry import FactoryRegistry, Spec

__all__ = ["DATASETS", "ImageData", "calibration_images", "calibration_part", "load_dataset", "register_dataset"]


@dataclass(frozen=True)
class ImageData:
    """A classification task: float images (N, C, H, W) ready for the network, and integer labels (N,).

    Raises:
        ValueError: if images and labels of a part differ in number.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if len(images) != len(labels):
                raise ValueError(f"the {part} part has {len(images)} images but {len(labels)} labels")

    @cached_property
    def hash(self) -> str:
        """SHA-256 over all images and labels, in their order and split."""
        return hash_tensors(
            {
                "train_images": self.train_images,
                "train_labels": self.train_labels,
                "test_images": self.test_images,
                "test_labels": self.test_labels,
            }
        )

    @property
    def example(self) -> torch.Tensor:
        """One image as a batch (1, C, H, W), for tracing and for FLOPs per image."""
        return self.test_images[:1]


DATASETS: FactoryRegistry[ImageData] = FactoryRegistry("dataset", given=1)

register_dataset = DATASETS.register
"""Decorator ``@register_dataset("name")`` for a loader ``(data_root, **settings) -> ImageData``."""


def load_dataset(spec: Spec, root: DataRoot | None = None) -> ImageData:
    """Load what ``spec`` names.

    Args:
        spec: name and settings.
        root: where the user's files lie, for data that does not come with a package.

    Raises:
        UnknownNameError: if no dataset has that name.
        MissingFileError: if it lies in a file that is not there.
        SettingsError: if the settings do not fit it, or the file does not hold it.
    """
    return DATASETS.make(spec, root or DataRoot())


def calibration_images(data: ImageData, count: int, *, seed: int) -> torch.Tensor:
    """``count`` different images (count, C, H, W) drawn from the training part alone.

    Raises:
        SettingsError: if ``count`` is below 1 or above the number of training images.
    """
    return calibration_part(data, count, seed=seed)[0]


def calibration_part(data: ImageData, count: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The images of :func:`calibration_images` and their labels, int64 (count,).

    Raises:
        SettingsError: if ``count`` is below 1 or above the number of training images.
    """
    available = len(data.train_images)
    if not 1 <= count <= available:
        raise SettingsError(f"calibration_images: 1 to {available}, the training images there are, got {count}")
    drawn = torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:count]
    images = data.train_images[drawn.to(data.train_images.device)]
    return images, data.train_labels[drawn.to(data.train_labels.device)].long()
