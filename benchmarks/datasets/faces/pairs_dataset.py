"""A data set with ordinary training images that is evaluated by pairs of faces."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ....calibration.data import model_device
from ...errors import SettingsError
from ...files import hash_json, hash_tensors
from ..evaluation import Evaluation
from ..source import Batch, ImageSource
from .verification import verify
from .view2 import View2

_BATCH = 128
"""Faces in a call: more take no less time each, and much memory."""


class FacePairs(ImageSource):
    """Verification: do two photographs show one person?

    Args:
        images: its training part is used for training, its test part are the photographs of the pairs.
        view: the pairs; ``view.images`` are those photographs, in their order.
        flip: whether an image's embedding is its own, followed by that of its mirror image.

    Raises:
        ValueError: if there are not as many test images as photographs.
    """

    evaluates_in_detail = True

    def __init__(self, images: ImageSource, view: View2, *, flip: bool = True) -> None:
        if images.test_count != len(view.images):
            raise ValueError(f"images: {len(view.images)} in the test part, one a photograph, got {images.test_count}")
        self._images = images
        self.train_count, self.test_count = images.train_count, len(view.pairs)
        self.num_classes, self.device = images.num_classes, images.device
        self.view = view
        self.flip = flip
        self._last: tuple[str, Evaluation] | None = None

    @property
    def hash(self) -> str:
        """SHA-256 over the images' hash and the pairs."""
        pairs = [(pair.first, pair.second, pair.same, pair.fold) for pair in self.view.pairs]
        return hash_json([self._images.hash, pairs])

    @property
    def example(self) -> Tensor:
        """The first training image as a batch (1, 3, H, W): photographs of pairs are for the evaluation alone."""
        return self.pick(torch.tensor([0]))[0]

    def to(self, device: torch.device | str) -> FacePairs:
        """The same with batches on another device; itself if that is its device."""
        images = self._images.to(device)
        if images is self._images:
            return self
        moved = copy.copy(self)
        moved._images, moved.device = images, images.device
        return moved

    def train_batches(self, batch_size: int, random: torch.Generator, *, augment: bool = False) -> Iterator[Batch]:
        """One epoch, see :meth:`ImageSource.train_batches`."""
        return self._images.train_batches(batch_size, random, augment=augment)

    def test_batches(self, batch_size: int = 512) -> Iterator[Batch]:
        """Every photograph of the pairs once, in their order; the labels are not used."""
        return self._images.test_batches(batch_size)

    def evaluate(self, model: nn.Module, *, batch_size: int = 512) -> Evaluation:
        """Verification accuracy by the protocol of :func:`~foad_plugins.benchmarks.datasets.faces.verification.verify`.

        The last outcome is cached: training measures its last epoch, and its caller needs the details after it.

        Raises:
            SettingsError: if the network's outputs are no embeddings (N, D), or not finite.
        """
        model.eval()
        key = f"{type(model).__qualname__} {hash_tensors(model.state_dict())}"
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        try:
            evaluation = verify(embed(model, self.test_batches(min(batch_size, _BATCH)), flip=self.flip), self.view)
        except ValueError as error:
            raise SettingsError(f"{type(model).__name__} gives no embeddings of faces: {error}") from None
        self._last = key, evaluation
        return evaluation

    def pick(self, chosen: Tensor) -> Batch:
        """Training images by their numbers, see :meth:`ImageSource.pick`."""
        return self._images.pick(chosen)


@torch.no_grad()
def embed(model: nn.Module, batches: Iterable[Batch], *, flip: bool) -> NDArray[np.floating]:
    """Embeddings of faces.

    Args:
        model: in eval mode.
        batches: of faces; copied to the model's device.
        flip: whether a face's mirror image is embedded too.

    Returns:
        (N, D), or (N, 2D) followed by those of the mirror images.
    """
    device = model_device(model)
    parts = []
    for batch, _ in batches:
        # Depthwise layers are faster so on a CPU.
        images = batch.to(device or batch.device).contiguous(memory_format=torch.channels_last)
        found = [model(images)]
        if flip:
            found.append(model(images.flip(3)))
        parts.append(torch.cat(found, dim=1).float().cpu())
    return torch.cat(parts).numpy()
