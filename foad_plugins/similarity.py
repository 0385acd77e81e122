"""Channel similarity: how alike the feature maps of a layer's channels are, averaged over images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["ChannelStatistics", "channel_similarity"]

# Squared distances below this share of the channel's squared norm are taken from the direct difference: the Gram
# expansion loses them to cancellation, and identical channels must come out at distance zero.
_NEAR = 2.0**-7
# Added to every squared norm: too small to count, but a CPU's square root is twenty times slower at zero.
_TINY = 1e-30
# Maps of so few positions are as fast to subtract as to multiply, and then nothing is lost at all.
_DIRECT_POSITIONS = 4
# Rows of a panel: few, so that little below the diagonal is computed; enough for the matrix product to be efficient.
_PANEL_ROWS = 64
# Elements of one block of distances: on a CPU it stays in the caches from step to step, and starting a step costs
# little beside it.
_BLOCK_CPU = 2**17
_BLOCK_GPU = 2**23


def channel_similarity(features: Tensor) -> Tensor:
    """Mean similarity between the channels of one layer's feature maps.

    ``s[i, j]`` is the mean over images of ``1 / (1 + ||features[n, i] - features[n, j]||_2)``, the Euclidean norm
    taken over all positions of a map (Shi et al. 2024, section 3.1; doi 10.7544/issn1000-1239.202330085).

    Args:
        features: floating-point tensor of shape (N, C, ...): N images, C channels, any number of spatial
            dimensions, or none. Half precision is computed in float32, float64 in float64.

    Returns:
        (C, C) float32 tensor on the device of ``features``, symmetric, in (0, 1], with a diagonal of exactly 1.
        Higher means more alike; identical channels have similarity 1 and identical rows.

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
    """Similarity sums that add up over batches, layers that read the same channels, and processes.

    The sums are kept in float64. Each image adds float32 numbers of at most 1, so that the order of images and the
    split into batches do not change the result. Memory is half a (C, C) matrix, whatever the number of images.

    Args:
        num_channels: C, 0 or more.

    Attributes:
        num_channels: C.
        count: the number of feature maps (images times tensors) seen so far.

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
                then as they were before the call.
        """
        if not features.is_floating_point():
            raise TypeError(f"features must be floating point, got {features.dtype}")
        if features.dim() < 2 or features.shape[1] != self.num_channels:
            expected = f"(N, {self.num_channels}, ...)"
            raise ValueError(f"features must have shape {expected}, got {tuple(features.shape)}")
        if features.shape[0] == 0:
            raise ValueError(f"features must hold at least one image, got shape {tuple(features.shape)}")
        if features[0, 0:1].numel() == 0 and self.num_channels:
            raise ValueError(f"feature maps must have at least one position, got shape {tuple(features.shape)}")
        maps = _as_rows(features)
        added = maps.new_zeros(_offset(self.num_channels, self.num_channels), dtype=torch.float64)
        energy = _add_similarities(maps, added)
        if not torch.isfinite(energy):
            raise ValueError(
                f"the feature maps hold NaN, Inf or values too large to square (shape {tuple(features.shape)})"
            )
        self._sum = added if self._sum is None else self._sum.to(added.device).add_(added)
        self.count += features.shape[0]
        return self

    def merge(self, other: ChannelStatistics) -> ChannelStatistics:
        """Add what another object has seen, from other batches or from another process.

        Args:
            other: statistics over as many channels.

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

    def compute(self) -> Tensor:
        """The mean similarity over everything seen.

        Returns:
            (C, C) float32 tensor, as :func:`channel_similarity` returns it.

        Raises:
            ValueError: nothing has been seen.
        """
        if self._sum is None:
            raise ValueError("no feature maps have been added yet: call update() first")
        similarity = torch.empty(self.num_channels, self.num_channels, device=self._sum.device)
        twins = []
        for top in range(0, self.num_channels, _PANEL_ROWS):
            panel = similarity[top : top + _PANEL_ROWS, top:]
            tile = _tile(self._sum, top, self.num_channels).view(panel.shape)
            twins.append((tile == self.count).triu_(1).nonzero() + top)
            panel.copy_(tile / self.count)
            square, rest = panel[:, : len(panel)], panel[:, len(panel) :]
            square.copy_(square.triu(1) + square.triu(1).T)
            similarity[top + len(panel) :, top : top + len(panel)] = rest.T
        same = torch.cat(twins) if twins else torch.empty(0, 2)
        if len(same):
            # Rounding may tell two identical channels apart by their place in a matrix product. They share
            # one row here, so that ties between them are exact and fall to the lower index.
            first = torch.arange(self.num_channels, device=similarity.device)
            first = first.scatter_reduce(0, same[:, 1], same[:, 0], "amin")
            similarity = similarity[first][:, first]
            similarity[first[:, None] == first[None, :]] = 1
        return similarity.fill_diagonal_(1)


def _as_rows(features: Tensor) -> Tensor:
    """(N, C, ...) to (N, C, L) in the computing precision, as a view where the memory layout allows."""
    if features.dim() == 4 and features.is_contiguous(memory_format=torch.channels_last):
        maps = features.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
    else:
        maps = features.unsqueeze(2) if features.dim() == 2 else features.flatten(2)
    return maps if maps.dtype in (torch.float32, torch.float64) else maps.float()


def _offset(top: int, channels: int) -> int:
    """Where the panel of rows from ``top`` on begins in the packed sums, which hold no column left of a panel."""
    whole = top // _PANEL_ROWS * _PANEL_ROWS
    return whole * channels - whole * (whole - _PANEL_ROWS) // 2 + (top - whole) * (channels - whole)


def _tile(packed: Tensor, top: int, channels: int) -> Tensor:
    """The sums of the panel of rows from ``top`` on, row by row."""
    return packed[_offset(top, channels) : _offset(min(top + _PANEL_ROWS, channels), channels)]


def _add_similarities(maps: Tensor, total: Tensor) -> Tensor:
    """Add every image's similarities to the packed sums ``total``; return the sum of all squared norms.

    Works on panels of rows, from the last to the first, and on a few images at a time: a panel needs the columns from
    its own first row on, and of later columns the squared norms are known by then.
    """
    images, channels, positions = maps.shape
    direct = positions <= _DIRECT_POSITIONS
    if direct:
        # Position by position, so that each of them is read in one piece.
        maps = maps.transpose(1, 2).contiguous().transpose(1, 2)
    budget = _BLOCK_CPU if maps.device.type == "cpu" else _BLOCK_GPU
    norms = maps.square().sum(2) if direct else maps.new_empty(images, channels)
    near: list[tuple[int, Tensor]] = []
    size = min(max(budget, channels * _PANEL_ROWS), images * channels * _PANEL_ROWS)
    # Large allocations begin at the same place of a page; in step with each other they would alias in the caches.
    distances, scratch = maps.new_empty(size), maps.new_empty((size if direct and positions > 1 else 0) + 272)[272:]
    wide = maps.new_empty(size + 264, dtype=torch.float64)[264:]
    ones = wide.new_ones(images)
    for top in reversed(range(0, channels, _PANEL_ROWS)):
        rows, columns = min(_PANEL_ROWS, channels - top), channels - top
        tile = _tile(total, top, channels)
        for start in range(0, images, step := max(1, budget // (rows * columns))):
            part = slice(start, start + step)
            ours, theirs = maps[part, top : top + rows], maps[part, top:]
            block = _shaped(distances, (len(ours), rows, columns))
            if direct:
                _subtract(ours, theirs, block, scratch)
            else:
                _expand(ours, theirs, norms[part, top:], block)
                near.append((top, _near(block, norms[part, top : top + rows] * _NEAR)))
                block.sqrt_()
            block.add_(1).reciprocal_()
            if len(block) == 1:
                tile.add_(block.view(-1))
            else:
                added = _shaped(wide, block.shape).copy_(block).view(len(block), -1)
                torch.addmv(tile, added.T, ones[: len(block)], out=tile)
    _replace(maps, total, near)
    return norms.sum()


def _shaped(memory: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The first elements of a flat tensor in another shape, so that blocks of all sizes share the same memory."""
    return memory[: math.prod(shape)].view(shape)


def _subtract(ours: Tensor, theirs: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Distances between rows, position by position: (n, R, L) and (n, K, L) to (n, R, K)."""
    if ours.shape[2] == 1:
        torch.sub(ours, theirs.transpose(1, 2), out=out).abs_()
        return
    difference, before = _shaped(scratch, out.shape), out.new_tensor(_TINY)
    for position in range(ours.shape[2]):
        torch.sub(ours[:, :, None, position], theirs[:, None, :, position], out=difference)
        before = torch.addcmul(before, difference, difference, out=out)
    out.sqrt_()


def _expand(ours: Tensor, theirs: Tensor, norms: Tensor, out: Tensor) -> None:
    """Squared distances between rows by one product; the first R of ``theirs`` are ``ours``; infinite to itself.

    The squared norms of ``ours`` are read off the product's own diagonal, where the same rounding is at work as beside
    it, and written into ``norms`` (n, K), which holds those of the later rows already.
    """
    rows = ours.shape[1]
    torch.baddbmm(out, ours, theirs.transpose(1, 2), beta=0, alpha=-2, out=out)
    own, mine = out[:, :, :rows].diagonal(dim1=1, dim2=2), norms[:, :rows]
    torch.add(_TINY, own, alpha=-0.5, out=mine)
    own.fill_(torch.inf)
    out.add_(mine[:, :, None]).add_(norms[:, None, :])


def _near(squares: Tensor, limit: Tensor) -> Tensor:
    """The pairs (R, K) that are nearer than the row's limit (n, R) in any image: a mask on a GPU, indices on a CPU.

    A mask is made without a look at what is in it, for which the host would have to wait.
    """
    if squares.is_cuda:
        return (squares < limit[:, :, None]).any(0)
    image, row = (squares.amin(2) < limit).nonzero(as_tuple=True)
    if len(row) == 0:
        return row.new_empty(0, 2)
    found, column = (squares[image, row] < limit[image, row, None]).nonzero(as_tuple=True)
    return torch.stack([row[found], column], dim=1)


def _replace(maps: Tensor, total: Tensor, near: list[tuple[int, Tensor]]) -> None:
    """Put sums over direct differences in the place of those of near pairs, which are given by panel."""
    images, channels, positions = maps.shape
    found = [(pairs.nonzero() if pairs.dtype == torch.bool else pairs) + top for top, pairs in near if len(pairs)]
    if not found:
        return
    first, second = torch.cat(found).unique(dim=0).T
    panel = first // _PANEL_ROWS * _PANEL_ROWS
    start = panel * channels - panel * (panel - _PANEL_ROWS) // 2
    places = start + (first - panel) * (channels - panel) + second - panel
    for few in torch.arange(len(first), device=maps.device).split(max(1, _BLOCK_CPU // (images * positions))):
        squares = (maps[:, first[few]] - maps[:, second[few]]).square_().sum(2)
        total[places[few]] = squares.sqrt_().add_(1).reciprocal_().double().sum(0)
