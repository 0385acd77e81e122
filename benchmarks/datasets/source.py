"""The interface of a data set, whether it is in memory or read from files for every epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from ...calibration.data import model_device
from ..errors import SettingsError
from .evaluation import Evaluation

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Float images (N, C, H, W), ready for the network, and their int64 classes (N,), on the data's device."""


class ImageSource(ABC):
    """A task with a training and a test part: classification, unless a subclass evaluates otherwise.

    The training part alone is the source of calibration images.

    Attributes:
        evaluates_in_detail: whether an evaluation holds more than an accuracy, which records then keep.
        train_count: number of training images.
        test_count: number of test images, or of pairs of them: what accuracy is a fraction of.
        num_classes: number of classes; labels are 0 to one less.
        device: of the batches.
    """

    evaluates_in_detail: ClassVar[bool] = False

    train_count: int
    test_count: int
    num_classes: int
    device: torch.device

    @property
    @abstractmethod
    def hash(self) -> str:
        """SHA-256, in hex, that changes when the images, the labels, their order or their split do."""

    @property
    @abstractmethod
    def example(self) -> Tensor:
        """One image as a batch (1, C, H, W), for tracing and for FLOPs per image."""

    @abstractmethod
    def to(self, device: torch.device | str) -> ImageSource:
        """The same data with batches on another device; itself if that is its device."""

    @abstractmethod
    def train_batches(self, batch_size: int, random: torch.Generator, *, augment: bool = False) -> Iterator[Batch]:
        """One epoch: every training image once, in a new random order.

        Args:
            batch_size: images a batch. The last one may be smaller; a lone last image joins the batch before it, as
                batch normalization needs two.
            random: on the CPU. Order and augmentation depend on its state alone; the next epoch continues with it.
            augment: whether every image is cropped and mirrored at random, in the way of the data.

        Raises:
            SettingsError: ``batch_size`` below 1.
        """

    @abstractmethod
    def test_batches(self, batch_size: int = 512) -> Iterator[Batch]:
        """Every test image once, in their order.

        Raises:
            SettingsError: ``batch_size`` below 1.
        """

    def calibration(self, count: int, *, seed: int) -> Batch:
        """``count`` different training images, not augmented, with their labels; the same for the same seed.

        Raises:
            SettingsError: if ``count`` is below 1 or above the number of training images.
        """
        if not 1 <= count <= self.train_count:
            available = self.train_count
            raise SettingsError(f"calibration_images: 1 to {available}, the training images there are, got {count}")
        return self.pick(torch.randperm(self.train_count, generator=torch.Generator().manual_seed(seed))[:count])

    def evaluate(self, model: nn.Module, *, batch_size: int = 512) -> Evaluation:
        """Evaluate a network on the test part; it is left in eval mode."""
        return classify(model, self, batch_size)

    @abstractmethod
    def pick(self, chosen: Tensor) -> Batch:
        """Training images and labels by their numbers (N,), int64, from 0; not augmented."""


def batch_edges(count: int, size: int) -> list[tuple[int, int]]:
    """Cut ``range(count)`` into runs of ``size``; a lone last image joins the run before it.

    Raises:
        SettingsError: ``size`` below 1.
    """
    if size < 1:
        raise SettingsError(f"batch_size: at least 1, got {size}")
    edges = [*range(0, count, size), count]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1 and size > 1:
        del edges[-2]
    return list(pairwise(edges))


@torch.no_grad()
def classify(model: nn.Module, data: ImageSource, batch_size: int = 512) -> Evaluation:
    """The fraction of the test images of which the highest output is that of their class.

    Args:
        model: put into eval mode, in which it is left.
        data: on any device; batches are copied to the model's.
        batch_size: images in a call.
    """
    model.eval()
    device = model_device(model) or data.device
    right = torch.zeros((), dtype=torch.int64, device=device)
    for images, labels in data.test_batches(batch_size):
        right += (model(images.to(device)).argmax(1) == labels.to(device)).sum()
    return Evaluation(accuracy=right.item() / data.test_count)
