"""The paper's greedy selection: which channels are kept, and which kept channel represents each removed one."""

from __future__ import annotations

import heapq
import operator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Selection", "greedy_select"]

Similarity = npt.NDArray[np.floating]

# Rows of similarities that are searched together: few, so that their copy is small.
_ROWS = 64
# Tables of fewer channels are in the cache, and are searched as they are.
_LEAST_COMPACTED = 512


@dataclass(frozen=True)
class Selection:
    """Which channels of one set are kept and which are removed.

    Attributes:
        kept: indices of the kept channels, ascending.
        removed: indices of the removed channels, ascending.
        representative: the most similar kept channel of each removed one, in the order of ``removed``. Of
            :func:`greedy_select`, it is the channel that removed it.
        similarity: of each removed channel to its representative, in (0, 1], in the order of ``removed``.
        neighbors: the paper's t; None if the selection was made from an order.
        threshold: the paper's s; None if the selection was made from an order.
    """

    kept: tuple[int, ...]
    removed: tuple[int, ...]
    representative: tuple[int, ...]
    similarity: tuple[float, ...]
    neighbors: int | None = None
    threshold: float | None = None

    @property
    def num_channels(self) -> int:
        """The number of channels before."""
        return len(self.kept) + len(self.removed)

    def __str__(self) -> str:
        head = f"{len(self.kept)} of {self.num_channels} channels kept"
        if self.neighbors is not None and self.threshold is not None:
            head += f" (neighbors={self.neighbors}, threshold={self.threshold:g})"
        lines = [
            f"  channel {channel} removed: channel {representative} is similar to {similarity:.4f}"
            for channel, representative, similarity in zip(
                self.removed, self.representative, self.similarity, strict=True
            )
        ]
        return "\n".join([head, *lines])


def greedy_select(similarity: Tensor, neighbors: int = 1, threshold: float = 0.0) -> Selection:
    """Select channels by the rule of Shi et al. 2024 (section 3.2).

    Channels are visited in index order. A removed channel is skipped. Any other is kept, and all channels that are not
    removed, except itself, are ranked by their similarity to it, highest first, ties to the lower index. Of the first
    ``neighbors``, each one that is not already kept and has a similarity of at least ``threshold`` is removed. The two
    parameters decide how many channels remain; there is no ratio.

    A channel whose nearest neighbor is already kept removes nothing. This is why most of many dead channels are kept.
    It is the published rule.

    Args:
        similarity: (C, C) tensor as :func:`~foad_plugins.channel_similarity` returns it. Row i ranks the neighbors of
            channel i; the diagonal is not used.
        neighbors: t, the largest number of channels removed for each kept channel; at least 1.
        threshold: s, the least similarity of a removed channel, in [0, 1].

    Returns:
        The selection. At least one channel is kept if there is one; of fewer than two none is removed.

    Raises:
        TypeError: ``similarity`` is no tensor, or ``neighbors`` no integer.
        ValueError: not a square matrix, NaN in it, ``neighbors`` below 1 or ``threshold`` outside [0, 1].

    Example:
        >>> import torch
        >>> print(greedy_select(torch.tensor([[1.0, 0.9, 0.2], [0.9, 1.0, 0.3], [0.2, 0.3, 1.0]])))
        2 of 3 channels kept (neighbors=1, threshold=0)
          channel 1 removed: channel 0 is similar to 0.9000
    """
    neighbors, threshold = validate_rule(neighbors, threshold)
    table = to_numpy(similarity)
    representatives = GreedyPass(table).select(neighbors, threshold)
    removed = sorted(representatives)
    return Selection(
        kept=tuple(channel for channel in range(len(table)) if channel not in representatives),
        removed=tuple(removed),
        representative=tuple(representatives[channel] for channel in removed),
        similarity=tuple(float(table[representatives[channel], channel]) for channel in removed),
        neighbors=neighbors,
        threshold=threshold,
    )


def validate_rule(neighbors: int, threshold: float) -> tuple[int, float]:
    """The two parameters of the rule, validated.

    Raises:
        TypeError: ``neighbors`` is no integer, or ``threshold`` no number.
        ValueError: ``neighbors`` below 1 or ``threshold`` outside [0, 1].
    """
    try:
        count = operator.index(neighbors)
    except TypeError:
        raise TypeError(f"neighbors must be an integer of at least 1, got {neighbors!r}") from None
    if isinstance(neighbors, bool) or count < 1:
        raise ValueError(f"neighbors must be an integer of at least 1, got {neighbors!r}")
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.floating)):
        raise TypeError(f"threshold must be a number in [0, 1], got {threshold!r}")
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must be in [0, 1], got {threshold!r}")
    return count, float(threshold)


def to_numpy(similarity: Tensor) -> Similarity:
    """A validated copy of a similarity matrix as a NumPy array.

    Raises:
        TypeError: not a tensor.
        ValueError: not a square matrix, or it contains NaN.
    """
    if not isinstance(similarity, Tensor):
        raise TypeError(f"similarity must be a (C, C) tensor, got {type(similarity).__name__}")
    if similarity.dim() != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"similarity must be a square (C, C) matrix, got shape {tuple(similarity.shape)}")
    precision = torch.float64 if similarity.dtype == torch.float64 else torch.float32
    table: Similarity = similarity.detach().to("cpu", precision).numpy().copy()
    if np.isnan(table).any():
        raise ValueError("similarity must not contain NaN")
    return table


class GreedyPass:
    """Repeated passes of the rule over one set of channels, each over the channels that are left.

    With one neighbor, the nearest channel of each is stored and searched for again only after its removal, and a pass
    visits only channels that can remove another. Over many passes this saves nearly all of the work. A large table is
    cut down to the channels that are left when half of them are removed: shorter rows take less time to search.

    Args:
        table: (C, C) similarities, of which the diagonal is overwritten.
    """

    def __init__(self, table: Similarity) -> None:
        np.fill_diagonal(table, -np.inf)
        self._table = table
        # The channel of each row and column.
        self._channels = np.arange(len(table))
        # Added to a row: -inf for channels that have been removed, 0 for the others.
        self._removed = np.zeros(len(table), dtype=table.dtype)
        self._nearest = self._table.argmax(1) if len(table) else np.empty(0, dtype=np.intp)
        self._best = self._table[np.arange(len(table)), self._nearest]

    @property
    def alive(self) -> npt.NDArray[np.intp]:
        """Indices of the channels that no pass has removed, ascending."""
        return self._channels[self._removed == 0]

    def select(self, neighbors: int, threshold: float) -> dict[int, int]:
        """Make one pass.

        Returns:
            The channels that it removes, and the representative of each.
        """
        # In the precision of the similarities: NumPy before 2 compares some of them in double precision.
        threshold = float(self._table.dtype.type(threshold))
        self._refresh_all()
        self._compact()
        pairs = self._select_nearest(threshold) if neighbors == 1 else self._select_several(neighbors, threshold)
        return {int(self._channels[one]): int(self._channels[other]) for one, other in pairs.items()}

    def _select_several(self, neighbors: int, threshold: float) -> dict[int, int]:
        """Make one pass with several neighbors."""
        kept = np.zeros(len(self._table), dtype=bool)
        representatives: dict[int, int] = {}
        for channel in np.flatnonzero(self._removed == 0).tolist():
            if channel in representatives:
                continue
            kept[channel] = True
            for other in self._most_similar(channel, neighbors):
                if self._removed[other] or not self._table[channel, other] >= threshold:
                    break
                if not kept[other]:
                    self._removed[other] = -np.inf
                    representatives[other] = channel
        return representatives

    def _select_nearest(self, threshold: float) -> dict[int, int]:
        """Make one pass with one neighbor.

        A channel can remove its nearest one only if that has a higher index: lower ones are kept or already removed.
        So the pass visits the channels whose nearest has a higher index, or is removed on the way.
        """
        higher = (self._nearest > np.arange(len(self._nearest))) & (self._best >= threshold)
        queued = (self._removed == 0) & higher
        queue: list[int] = np.flatnonzero(queued).tolist()
        representatives: dict[int, int] = {}
        while queue:
            channel = heapq.heappop(queue)
            if self._removed[channel]:
                continue
            other = self._refresh_nearest(channel)
            if other < channel or self._removed[other] or not self._best[channel] >= threshold:
                continue
            self._removed[other] = -np.inf
            representatives[other] = channel
            for waiting in np.flatnonzero(self._nearest == other).tolist():
                if waiting > channel and not queued[waiting]:
                    queued[waiting] = True
                    heapq.heappush(queue, waiting)
        return representatives

    def _refresh_all(self) -> None:
        """Search again for the nearest channels that earlier passes have removed, together instead of one by one."""
        stale = np.flatnonzero((self._removed == 0) & (self._removed[self._nearest] != 0))
        for start in range(0, len(stale), _ROWS):
            rows = stale[start : start + _ROWS]
            self._nearest[rows] = nearest = (self._table[rows] + self._removed).argmax(1)
            self._best[rows] = self._table[rows, nearest]

    def _compact(self) -> None:
        """Drop the rows and columns of removed channels when they are half of a large table, after a refresh of all."""
        left = np.flatnonzero(self._removed == 0)
        if len(self._table) < _LEAST_COMPACTED or not 1 < len(left) <= len(self._table) // 2:
            return
        row = np.cumsum(self._removed == 0) - 1
        self._table = self._table[np.ix_(left, left)]
        self._channels, self._removed, self._best = self._channels[left], self._removed[left], self._best[left]
        self._nearest = row[self._nearest[left]]

    def _refresh_nearest(self, channel: int) -> int:
        """The most similar channel left, ties to the lower index; a removed one if no other is left."""
        other = int(self._nearest[channel])
        if self._removed[other]:
            self._nearest[channel] = other = int((self._table[channel] + self._removed).argmax())
            self._best[channel] = self._table[channel, other]
        return other

    def _most_similar(self, channel: int, count: int) -> list[int]:
        """The ``count`` most similar channels left, most similar first, ties to the lower index.

        If fewer are left, removed channels and the channel itself follow.
        """
        row = self._table[channel] + self._removed
        if count < len(row):
            bound = np.partition(row, -count)[-count]
            above, level = np.flatnonzero(row > bound), np.flatnonzero(row == bound)
            candidates = np.sort(np.concatenate([above, level[: count - len(above)]]))
        else:
            candidates = np.arange(len(row))
        ranked: list[int] = candidates[np.argsort(-row[candidates], kind="stable")].tolist()
        return ranked
