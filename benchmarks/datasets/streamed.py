"""Images that are read from their files batch by batch, for data that memory cannot hold."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .image_files import ImageFileError, Shape, read_image
from .normalization import Normalization
from .source import Batch, ImageSource, batch_edges

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder


_Key: TypeAlias = "tuple[int, int | None]"
"""An image's number and the seed of its augmentation."""


class StreamedData(ImageSource):
    """A classification task in image files.

    Files are decoded by worker processes. What an epoch gives depends on the generator alone and not on their number:
    every image has its own seed. Augmentation crops a random part and mirrors it, as usual for ImageNet.

    Args:
        train: the training images.
        test: the test images, of the same classes.
        shape: size of the images; ``size`` must be given.
        normalization: of the pixels.
        device: of the batches.
        workers: processes that read; one for each core and at most 8 if None, 0 to read in this process.

    Raises:
        ValueError: a shape without a size.
        ImageFileError: if a file is empty.
    """

    def __init__(
        self,
        train: ImageFolder,
        test: ImageFolder,
        shape: Shape,
        normalization: Normalization,
        *,
        device: torch.device | str = "cpu",
        workers: int | None = None,
    ) -> None:
        if shape.size is None:
            raise ValueError("size must be given for images that are not read into memory")
        self._files = {"train": train, "test": test}
        self.shape = shape
        self.normalization = normalization
        self.workers = min(8, os.cpu_count() or 1) if workers is None else workers
        self.device = torch.device(device)
        self.train_count, self.test_count, self.num_classes = len(train), len(test), len(train.classes)
        self._bytes = {part: _sizes(files) for part, files in self._files.items()}

    @property
    def example(self) -> Tensor:
        """The first test image as a batch (1, 3, H, W)."""
        pixels = read_image(self._files["test"].samples[0][0], self.shape)
        return self.normalization.apply(pixels[None].to(self.device))

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the files' names, sizes in bytes and classes, the image size and the normalization.

        Not over their pixels: to read all of ImageNet takes longer than a short run on it.
        """
        digest = hashlib.sha256()
        settings = [self.shape.size, self.shape.resize, self.normalization.mean, self.normalization.deviation]
        digest.update(json.dumps(settings).encode())
        for part, files in self._files.items():
            for (path, label), size in zip(files.samples, self._bytes[part], strict=True):
                described = [part, Path(path).relative_to(files.root).as_posix(), size, label]
                digest.update(json.dumps(described).encode())
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> StreamedData:
        """The same data with batches on another device; itself if that is the device."""
        if torch.device(device) == self.device:
            return self
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved

    def train_batches(self, batch_size: int, random: torch.Generator, *, augment: bool = False) -> Iterator[Batch]:
        """One epoch, see :meth:`ImageSource.train_batches`."""
        edges = batch_edges(self.train_count, batch_size)
        order = torch.randperm(self.train_count, generator=random).tolist()
        seeds: list[int | None] = [None] * len(order)
        if augment:
            seeds = torch.randint(2**63 - 1, (len(order),), generator=random).tolist()
        keys = list(zip(order, seeds, strict=True))
        return self._batches("train", [keys[start:stop] for start, stop in edges])

    def test_batches(self, batch_size: int = 512) -> Iterator[Batch]:
        """Every test image once, in their order."""
        edges = batch_edges(self.test_count, batch_size)
        return self._batches("test", [[(number, None) for number in range(*edge)] for edge in edges])

    def pick(self, chosen: Tensor) -> Batch:
        """Training images by their numbers, see :meth:`ImageSource.pick`."""
        keys: list[_Key] = [(number, None) for number in chosen.tolist()]
        batches = [keys[start : start + 64] for start in range(0, len(keys), 64)]
        images, labels = zip(*self._batches("train", batches), strict=True)
        return torch.cat(images), torch.cat(labels)

    def _batches(self, part: str, keys: list[list[_Key]]) -> Iterator[Batch]:
        on_gpu = self.device.type == "cuda"
        loader = DataLoader(
            _Decoded(self._files[part], self.shape),
            batch_sampler=keys,
            num_workers=min(self.workers, len(keys)),
            collate_fn=_collate,
            pin_memory=on_gpu,
            # Its own, because it would otherwise use torch's global generator.
            generator=torch.Generator(),
        )
        for batch in loader:
            if isinstance(batch, str):
                raise ImageFileError(batch)
            images, labels = (tensor.to(self.device, non_blocking=True) for tensor in batch)
            yield self.normalization.apply(images), labels


class _Decoded(Dataset["tuple[Tensor, int] | str"]):
    """Pixels and class of an image, or what is wrong with it: an exception would arrive with a worker's traceback."""

    def __init__(self, files: ImageFolder, shape: Shape) -> None:
        self.files, self.shape = files, shape

    def __getitem__(self, key: _Key) -> tuple[Tensor, int] | str:
        number, seed = key
        try:
            path, label = self.files.samples[number]
            return read_image(path, self.shape, seed), label
        except ImageFileError as error:
            return str(error)


def _sizes(files: ImageFolder) -> list[int]:
    """Bytes of each file."""
    sizes = [os.path.getsize(path) for path, _ in files.samples]
    if 0 in sizes:
        raise ImageFileError(f"{files.samples[sizes.index(0)][0]} is empty")
    return sizes


def _collate(samples: Iterable[tuple[Tensor, int] | str]) -> tuple[Tensor, Tensor] | str:
    images, labels = [], []
    for sample in samples:
        if isinstance(sample, str):
            return sample
        images.append(sample[0])
        labels.append(sample[1])
    return torch.stack(images), torch.tensor(labels)
