"""Images in memory, on the device that uses them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...recovery.training.augmentation import CropFlip
from ..files import hash_tensors
from .normalization import Normalization
from .source import Batch, ImageSource, batch_edges


@dataclass(frozen=True)
class _Part:
    """Stored images and their labels."""

    images: Tensor
    labels: Tensor


class ImageData(ImageSource):
    """A classification task in memory.

    Images are float and ready for the network, or uint8 with a normalization that is applied to every batch: a quarter
    of the memory. Augmentation is :func:`~foad_plugins.recovery.training.augmentation.crop_and_flip`.

    Args:
        train_images: (N, C, H, W), float or uint8.
        train_labels: (N,), integers from 0.
        test_images: as the training images.
        test_labels: as the training labels.
        normalization: of uint8 images.
        num_classes: one more than the highest label if None.

    Raises:
        ValueError: if a part is empty, images and labels of a part differ in number, the parts differ in type or
            shape, uint8 images lack a normalization (or float ones have one), or a label is out of range.
        TypeError: labels that are no integers, images that are neither float nor uint8.
    """

    def __init__(
        self,
        train_images: Tensor,
        train_labels: Tensor,
        test_images: Tensor,
        test_labels: Tensor,
        *,
        normalization: Normalization | None = None,
        num_classes: int | None = None,
    ) -> None:
        parts = {"train": (train_images, train_labels), "test": (test_images, test_labels)}
        for part, (images, labels) in parts.items():
            _check_part(part, images, labels, normalization)
        if train_images.shape[1:] != test_images.shape[1:] or train_images.dtype != test_images.dtype:
            found = [f"{images.dtype} {tuple(images.shape[1:])}" for images, _ in parts.values()]
            raise ValueError(f"training and test images must be alike, got {found[0]} and {found[1]}")
        highest = int(max(train_labels.max(), test_labels.max()))
        self.num_classes = highest + 1 if num_classes is None else num_classes
        if highest >= self.num_classes:
            raise ValueError(f"labels must be classes from 0 to {self.num_classes - 1}, got {highest}")
        self.normalization = normalization
        self.train_count, self.test_count, self.device = len(train_labels), len(test_labels), train_labels.device
        self._parts = {part: _Part(images, labels.long()) for part, (images, labels) in parts.items()}

    @cached_property
    def train_images(self) -> Tensor:
        """All training images (N, C, H, W), float and normalized."""
        return self._ready(self._parts["train"].images)

    @property
    def train_labels(self) -> Tensor:
        """Their classes (N,), int64."""
        return self._parts["train"].labels

    @cached_property
    def test_images(self) -> Tensor:
        """All test images (N, C, H, W), float and normalized."""
        return self._ready(self._parts["test"].images)

    @property
    def test_labels(self) -> Tensor:
        """Their classes (N,), int64."""
        return self._parts["test"].labels

    @property
    def example(self) -> Tensor:
        """The first test image as a batch (1, C, H, W)."""
        return self._ready(self._parts["test"].images[:1])

    @cached_property
    def hash(self) -> str:
        """SHA-256 over all stored images and labels, in their order and split, and the normalization."""
        tensors = {} if self.normalization is None else self.normalization.tensors()
        for name, part in self._parts.items():
            tensors |= {f"{name}_images": part.images, f"{name}_labels": part.labels}
        return hash_tensors(tensors)

    def to(self, device: torch.device | str) -> ImageData:
        """The same data on another device; itself if that is its device."""
        if torch.device(device) == self.device:
            return self
        moved = copy.copy(self)
        moved._parts = {name: _Part(p.images.to(device), p.labels.to(device)) for name, p in self._parts.items()}
        moved.device = moved.train_labels.device
        # The hash is kept, because hashing copies everything to the CPU; normalized images belong to their device.
        for name in ("train_images", "test_images"):
            moved.__dict__.pop(name, None)
        return moved

    def train_batches(self, batch_size: int, random: torch.Generator, *, augment: bool = False) -> Iterator[Batch]:
        """One epoch, see :meth:`ImageSource.train_batches`; nothing waits for the device between its batches."""
        edges = batch_edges(self.train_count, batch_size)
        order = _send(torch.randperm(self.train_count, generator=random), self.device)
        moves = None
        if augment:
            # All random numbers are copied to the device at once: a copy for every batch would wait for its queue.
            moves = CropFlip.join([CropFlip.draw(stop - start, random) for start, stop in edges]).to(self.device)
        return self._epoch(edges, order, moves)

    def _epoch(self, edges: list[tuple[int, int]], order: Tensor, moves: CropFlip | None) -> Iterator[Batch]:
        for start, stop in edges:
            images, labels = self.pick(order[start:stop])
            yield images if moves is None else moves.slice(start, stop).apply(images), labels

    def test_batches(self, batch_size: int = 512) -> Iterator[Batch]:
        """Every test image once, in their order."""
        part = self._parts["test"]
        edges = batch_edges(self.test_count, batch_size)
        return ((self._ready(part.images[start:stop]), part.labels[start:stop]) for start, stop in edges)

    def pick(self, chosen: Tensor) -> Batch:
        """Training images by their numbers, see :meth:`ImageSource.pick`."""
        part = self._parts["train"]
        chosen = chosen.to(self.device)
        return self._ready(part.images[chosen]), part.labels[chosen]

    def _ready(self, images: Tensor) -> Tensor:
        return images if self.normalization is None else self.normalization.apply(images)


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _check_part(part: str, images: Tensor, labels: Tensor, normalization: Normalization | None) -> None:
    if len(images) != len(labels):
        raise ValueError(f"the {part} part has {len(images)} images but {len(labels)} labels")
    if not len(images):
        raise ValueError(f"the {part} part has no images")
    if images.ndim != 4 or labels.ndim != 1:
        shapes = f"{tuple(images.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"the {part} part must have images (N, C, H, W) and labels (N,), got {shapes}")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"the labels of the {part} part must be integers, got {labels.dtype}")
    if int(labels.min()) < 0:
        raise ValueError(f"the labels of the {part} part must be classes from 0, got {int(labels.min())}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"the images of the {part} part must be float or uint8, got {images.dtype}")
    if (images.dtype == torch.uint8) != (normalization is not None):
        raise ValueError(f"uint8 images need a normalization and float images none, got {images.dtype} ({part} part)")
