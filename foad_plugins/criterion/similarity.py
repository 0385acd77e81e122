"""Similarity of the feature maps of a layer's channels, averaged over images."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from .kernels.packed import channel_pairs, empty_sums, unpacked
from .kernels.panels import Sums, similarity_sums

__all__ = ["ChannelStatistics", "channel_similarity", "not_finite"]


def channel_similarity(features: Tensor) -> Tensor:
    """Mean similarity between the channels of one layer's feature maps.

    ``s[i, j]`` is the mean over images of ``1 / (1 + ||features[n, i] - features[n, j]||_2)``, the Euclidean norm
    taken over all positions of a map (Shi et al. 2024, section 3.1; doi 10.7544/issn1000-1239.202330085).

    Args:
        features: floating-point tensor of shape (N, C, ...): N images, C channels, any number of spatial
            dimensions, or none. Half precision is computed in float32, float64 in float64.

    Returns:
        (C, C) float32 tensor on the device of ``features``, symmetric, in (0, 1], with a diagonal of exactly 1.
        Higher means more similar; identical channels have similarity 1 and identical rows.

    Raises:
        TypeError: ``features`` is not a floating-point tensor.
        ValueError: fewer than two dimensions, no image, maps without positions, or NaN or Inf in the maps.
    """
    if not isinstance(features, Tensor):
        raise TypeError(f"features must be a tensor of shape (N, C, ...), got {type(features).__name__}")
    if features.dim() < 2:
        raise ValueError(f"features must have shape (N, C, ...), got {tuple(features.shape)}")
    return ChannelStatistics(features.shape[1]).update(features).compute()


class ChannelStatistics:
    """Sums of similarities over batches, over tensors with the same channels, and over processes.

    The sums are float64. Each image adds float32 numbers of at most 1, so the order of images and the split into
    batches do not change the result. (Numba's loops, used for large work, differ from torch by rounding.) Memory is
    half a (C, C) matrix for any number of images.

    Args:
        num_channels: C, 0 or more.

    Attributes:
        num_channels: C.
        count: the number of maps of each channel (images times tensors) added so far.

    Example:
        >>> import torch
        >>> maps = torch.rand(8, 3, 4, 4)
        >>> halves = ChannelStatistics(3).update(maps[:4]).merge(ChannelStatistics(3).update(maps[4:]))
        >>> torch.equal(halves.compute(), channel_similarity(maps))
        True
    """

    def __init__(self, num_channels: int) -> None:
        if num_channels < 0:
            raise ValueError(f"num_channels must be 0 or more, got {num_channels}")
        self.num_channels = num_channels
        self.count = 0
        self._sum: Tensor | None = None

    @torch.no_grad()
    def update(self, features: Tensor) -> ChannelStatistics:
        """Add the feature maps of a batch.

        Args:
            features: (N, C, ...) floating-point tensor, as for :func:`channel_similarity`.

        Returns:
            This object.

        Raises:
            TypeError: ``features`` is not floating point.
            ValueError: the shape does not fit, there is no image or position, or a value is NaN or Inf. The sums are
                then unchanged.
        """
        sums = similarity_sums(self._rows(features), None)
        if not torch.isfinite(sums.sum_of_squares):
            raise ValueError(not_finite(features))
        added = sums.similarities
        self._sum = added if self._sum is None else self._sum.to(added.device).add_(added)
        self.count += len(features)
        return self

    def update_async(self, features: Tensor, *, products: bool = False) -> Sums:
        """Add the feature maps of a batch in place, without a check of the values and without waiting for the device.

        Args:
            features: as for :meth:`update`.
            products: compute the products of maps as well, where that is cheap.

        Returns:
            The sums. If ``sum_of_squares`` is not finite, the maps contain NaN or Inf and this object is of no use.

        Raises:
            TypeError, ValueError: as :meth:`update`, except for the values.
        """
        out = None if self._sum is None else self._sum.to(features.device)
        sums = similarity_sums(self._rows(features.detach()), out, products=products)
        self._sum = sums.similarities
        self.count += features.shape[0]
        return sums

    def merge(self, other: ChannelStatistics) -> ChannelStatistics:
        """Add the sums of another object, over other batches or from another process.

        Args:
            other: statistics of the same number of channels.

        Returns:
            This object; ``other`` is unchanged.

        Raises:
            ValueError: the numbers of channels differ.
        """
        if other.num_channels != self.num_channels:
            raise ValueError(f"cannot merge statistics of {other.num_channels} channels into {self.num_channels}")
        if other._sum is not None:
            self._sum = other._sum.clone() if self._sum is None else self._sum + other._sum.to(self._sum.device)
            self.count += other.count
        return self

    def all_reduce(self, count: int, device: torch.device) -> ChannelStatistics:
        """Add the sums of all ranks of torch.distributed's default process group; every rank must call it.

        Args:
            count: the sum of the ranks' counts.
            device: the device of the sums on a rank without data.
        """
        if self._sum is None:
            self._sum = empty_sums(self.num_channels, device)
        dist.all_reduce(self._sum)
        self.count = count
        return self

    def compute(self) -> Tensor:
        """The mean similarity over everything added.

        Returns:
            (C, C) float32 tensor, as :func:`channel_similarity` returns it.

        Raises:
            ValueError: nothing has been added.
        """
        if self._sum is None:
            raise ValueError("no feature maps have been added yet: call update() first")
        mean = torch.div(self._sum, self.count, out=self._sum.new_empty(len(self._sum), dtype=torch.float32))
        similarity = unpacked(mean, self.num_channels)
        higher, lower = channel_pairs((self._sum == self.count).nonzero()[:, 0], self.num_channels)
        if (higher > lower).any():
            # Rounding in a matrix product may separate two identical channels. They share one row here, so that ties
            # between them are exact and are decided by the lower index.
            first = torch.arange(self.num_channels, device=similarity.device)
            first = first.scatter_reduce(0, higher, torch.minimum(lower, higher), "amin")
            similarity = similarity[first][:, first]
            similarity[first[:, None] == first[None, :]] = 1
        return similarity.fill_diagonal_(1)

    def _rows(self, features: Tensor) -> Tensor:
        """The maps as (N, C, L), checked."""
        if not features.is_floating_point():
            raise TypeError(f"features must be floating point, got {features.dtype}")
        shape = features.shape
        if len(shape) < 2 or shape[1] != self.num_channels:
            raise ValueError(f"features must have shape (N, {self.num_channels}, ...), got {tuple(shape)}")
        if shape[0] == 0:
            raise ValueError(f"features must have at least one image, got shape {tuple(shape)}")
        if 0 in shape[2:] and self.num_channels:
            raise ValueError(f"feature maps must have at least one position, got shape {tuple(shape)}")
        return _as_rows(features)


def not_finite(features: Tensor) -> str:
    """The error message for maps whose squares do not have a finite sum."""
    return f"the feature maps contain NaN, Inf or values too large to square (shape {tuple(features.shape)})"


def _as_rows(features: Tensor) -> Tensor:
    """(N, C, ...) to (N, C, L), as a view where the memory layout allows."""
    if features.dim() == 4 and features.is_contiguous(memory_format=torch.channels_last):
        return features.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
    return features.unsqueeze(2) if features.dim() == 2 else features.flatten(2)
