"""Inner products between a layer's channels, summed over images and positions, for regression between them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from .kernels.packed import PANEL, diagonal, empty_sums, tile_view, unpacked_upper
from .kernels.tf32 import disable_tf32
from .similarity import not_finite

__all__ = ["GramStatistics"]

# Positions of one product, over several images: enough for the matrix product to be efficient, few enough for its
# float32 sums to be exact to six digits.
_POSITIONS = 4096
_PANEL_ROWS = 4 * PANEL


class GramStatistics:
    """Sums of ``x_i * x_j`` over all images and positions, for all pairs of channels.

    Products over a few thousand positions are float32 (float64 for float64 maps), and their sums are float64. Memory is
    half a (C, C) matrix for any number of images.

    Args:
        num_channels: C, 0 or more.

    Attributes:
        num_channels: C.
        samples: images times positions added so far.

    Example:
        >>> import torch
        >>> GramStatistics(2).update(torch.tensor([[[1.0, 1.0], [2.0, 0.0]]])).compute()
        tensor([[1., 1.],
                [1., 2.]], dtype=torch.float64)
    """

    def __init__(self, num_channels: int) -> None:
        if num_channels < 0:
            raise ValueError(f"num_channels must be 0 or more, got {num_channels}")
        self.num_channels = num_channels
        self.samples = 0
        self._sum: Tensor | None = None

    @classmethod
    def from_packed(cls, packed: Tensor, num_channels: int, samples: int) -> GramStatistics:
        """Statistics of sums that were computed together with similarities.

        Args:
            packed: the sums of products, in the form of :mod:`.kernels.packed`.
            num_channels: C.
            samples: images times positions.
        """
        return cls(num_channels)._add(packed, samples)

    @torch.no_grad()
    def update(self, features: Tensor) -> GramStatistics:
        """Add the feature maps of a batch.

        Args:
            features: (N, C, ...) floating-point tensor.

        Returns:
            This object.

        Raises:
            TypeError: ``features`` is not floating point.
            ValueError: the shape does not fit, or a value is NaN, Inf or too large to square. The sums are then
                unchanged.
        """
        added, samples = self._products(features)
        if not torch.isfinite(diagonal(added, self.num_channels)).all():
            raise ValueError(not_finite(features))
        return self._add(added, samples)

    @torch.no_grad()
    def update_async(self, features: Tensor) -> Tensor:
        """Add the feature maps of a batch without a check of the values and without waiting for the device.

        Args:
            features: as for :meth:`update`.

        Returns:
            The sum of all squares, a scalar. If it is not finite, the maps contain NaN or Inf and this object is of no
            use.

        Raises:
            TypeError, ValueError: as :meth:`update`, except for the values.
        """
        added, samples = self._products(features)
        self._add(added, samples)
        return diagonal(added, self.num_channels).sum()

    def merge(self, other: GramStatistics) -> GramStatistics:
        """Add the sums of another object; ``other`` is unchanged.

        Raises:
            ValueError: the numbers of channels differ.
        """
        if other.num_channels != self.num_channels:
            raise ValueError(f"cannot merge statistics of {other.num_channels} channels into {self.num_channels}")
        return self if other._sum is None else self._add(other._sum.clone(), other.samples)

    def all_reduce(self, samples: int, device: torch.device) -> GramStatistics:
        """Add the sums of all ranks of torch.distributed's default process group; every rank must call it.

        Args:
            samples: the sum of the ranks' samples.
            device: the device of the sums on a rank without data.
        """
        if self._sum is None:
            self._sum = empty_sums(self.num_channels, device)
        dist.all_reduce(self._sum)
        self.samples = samples
        return self

    def compute(self) -> Tensor:
        """The mean products over everything added.

        Returns:
            (C, C) float64 tensor on the CPU, symmetric; its diagonal contains the channels' mean squares.

        Raises:
            ValueError: nothing has been added.
        """
        if self._sum is None or not self.samples:
            raise ValueError("no feature maps have been added yet: call update() first")
        upper = unpacked_upper(self._sum.to("cpu"), self.num_channels)
        return (upper + upper.triu(1).T) / self.samples

    def _products(self, features: Tensor) -> tuple[Tensor, int]:
        """The packed sums of products of a batch, and the number of samples in it."""
        if not features.is_floating_point():
            raise TypeError(f"features must be floating point, got {features.dtype}")
        if features.dim() < 2 or features.shape[1] != self.num_channels:
            raise ValueError(f"features must have shape (N, {self.num_channels}, ...), got {tuple(features.shape)}")
        maps = features.flatten(2) if features.dim() > 2 else features.unsqueeze(2)
        maps = maps if maps.dtype == torch.float64 else maps.float()
        images, _, positions = maps.shape
        added = empty_sums(self.num_channels, maps.device)
        for part in maps.split(max(1, _POSITIONS // max(1, positions))):
            rows = part[0] if len(part) == 1 else part.transpose(0, 1).flatten(1)
            for top in range(0, self.num_channels, _PANEL_ROWS):
                with disable_tf32(rows):
                    block = rows[top:] @ rows[top : top + _PANEL_ROWS].T
                for first in range(0, block.shape[1], PANEL):
                    tile = tile_view(added, top + first, self.num_channels)
                    tile += block[first:, first : first + PANEL].flatten()
        return added, images * positions

    def _add(self, total: Tensor, samples: int) -> GramStatistics:
        """Add packed sums, which this object may keep."""
        self._sum = total if self._sum is None else self._sum.to(total.device).add_(total)
        self.samples += samples
        return self
