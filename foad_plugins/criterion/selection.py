"""The paper's greedy selection: which channels stay, and for whose sake each of the others goes."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Selection", "greedy_select"]

Similarity = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Selection:
    """Which channels of one set stay, which go, and for whose sake: by :func:`greedy_select`, or cut from an order.

    Attributes:
        kept: indices of the channels that stay, ascending.
        removed: indices of the channels that go, ascending.
        representative: for each removed channel, in the order of ``removed``, the kept channel it was removed for; of
            a cut,
            the kept channel it resembles most.
        similarity: for each removed channel, its similarity to its representative, in (0, 1], in the order of
            ``removed``.
        neighbors: the paper's t; None of a cut.
        threshold: the paper's s; None of a cut.
    """

    kept: tuple[int, ...]
    removed: tuple[int, ...]
    representative: tuple[int, ...]
    similarity: tuple[float, ...]
    neighbors: int | None = None
    threshold: float | None = None

    @property
    def num_channels(self) -> int:
        """The number of channels there were."""
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

    Channels are walked in index order. One that has been removed is skipped; any other is kept, and all channels not
    removed, itself excluded, are ranked by their similarity to it, highest first, ties to the lower index. Of the
    first ``neighbors``, each that is not kept already and is similar to at least ``threshold`` is removed. So the two
    parameters decide how many channels remain, and no ratio is given.

    A channel whose nearest neighbor was kept already removes nothing. Of many dead channels most survive therefore;
    that is the published rule, and it is reproduced here.

    Args:
        similarity: (C, C) tensor as :func:`~foad_plugins.channel_similarity` returns it. Row i ranks the neighbors of
            channel i; the diagonal is not looked at.
        neighbors: t, how many of the most similar channels may go for each channel kept; at least 1.
        threshold: s, the least similarity at which a channel goes, in [0, 1].

    Returns:
        The selection. At least one channel is kept where there is one; with fewer than two nothing is removed.

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


def selection_of(similarity: Tensor, removed: Sequence[int]) -> Selection:
    """The selection that removes some channels, each for the kept channel it resembles most.

    Args:
        similarity: (C, C) tensor as :func:`~foad_plugins.channel_similarity` returns it.
        removed: the channels that go, fewer than C of them.
    """
    table = to_numpy(similarity)
    gone = np.array(sorted(removed), dtype=np.intp)
    kept = np.setdiff1d(np.arange(len(table)), gone)
    nearest = kept[table[np.ix_(gone, kept)].argmax(1)] if len(gone) else gone
    return Selection(
        kept=tuple(kept.tolist()),
        removed=tuple(gone.tolist()),
        representative=tuple(nearest.tolist()),
        similarity=tuple(float(table[a, b]) for a, b in zip(gone, nearest, strict=True)),
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
    """A similarity matrix as a NumPy array of its own, validated.

    Raises:
        TypeError: not a tensor.
        ValueError: not square, or NaN in it.
    """
    if not isinstance(similarity, Tensor):
        raise TypeError(f"similarity must be a (C, C) tensor, got {type(similarity).__name__}")
    if similarity.dim() != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"similarity must be a square (C, C) matrix, got shape {tuple(similarity.shape)}")
    precision = torch.float64 if similarity.dtype == torch.float64 else torch.float32
    table: Similarity = similarity.detach().to("cpu", precision).numpy().copy()
    if np.isnan(table).any():
        raise ValueError("similarity must not hold NaN")
    return table


class GreedyPass:
    """Passes of the rule over one set of channels, each over the survivors of those before.

    With one neighbor, each channel's nearest is remembered, looked for again only when it has gone, and a pass goes
    only to the channels that can remove something. Over many passes this saves nearly all of the work.

    Args:
        table: (C, C) similarities.
    """

    def __init__(self, table: Similarity) -> None:
        self._table = table.copy()
        np.fill_diagonal(self._table, -np.inf)
        self._gone = np.zeros(len(table), dtype=table.dtype)
        self._first = self._table.argmax(1) if len(table) else np.empty(0, dtype=np.intp)
        self._best = self._table[np.arange(len(table)), self._first]

    @property
    def alive(self) -> npt.NDArray[np.intp]:
        """Indices of the channels that no pass has removed, ascending."""
        return np.flatnonzero(self._gone == 0)

    def select(self, neighbors: int, threshold: float) -> dict[int, int]:
        """One pass: the channels that it removes, and the representative of each."""
        # In the precision of the similarities: NumPy before 2 compares some in double precision, and some not.
        threshold = float(self._table.dtype.type(threshold))
        if neighbors == 1:
            return self._select_nearest(threshold)
        kept = np.zeros(len(self._table), dtype=bool)
        representatives: dict[int, int] = {}
        for here in self.alive.tolist():
            if here in representatives:
                continue
            kept[here] = True
            for there in self._nearest(here, neighbors):
                if self._gone[there] or not self._table[here, there] >= threshold:
                    break
                if not kept[there]:
                    self._gone[there] = -np.inf
                    representatives[there] = here
        return representatives

    def _select_nearest(self, threshold: float) -> dict[int, int]:
        """One pass with one neighbor.

        A channel removes its nearest only if that comes after it: those before it are kept, or gone already. So the
        pass goes to the channels whose nearest comes after them, or has gone, or goes on the way.
        """
        ahead = (self._first > np.arange(len(self._first))) & (self._best >= threshold)
        waiting = (self._gone == 0) & (ahead | (self._gone[self._first] != 0))
        queue: list[int] = np.flatnonzero(waiting).tolist()
        representatives: dict[int, int] = {}
        while queue:
            here = heapq.heappop(queue)
            if self._gone[here]:
                continue
            there = self._refresh_nearest(here)
            if there < here or self._gone[there] or not self._best[here] >= threshold:
                continue
            self._gone[there] = -np.inf
            representatives[there] = here
            for other in np.flatnonzero(self._first == there).tolist():
                if other > here and not waiting[other]:
                    waiting[other] = True
                    heapq.heappush(queue, other)
        return representatives

    def _refresh_nearest(self, channel: int) -> int:
        """The most similar channel alive, ties to the lower index; one that has gone where there is no other."""
        there = int(self._first[channel])
        if not self._gone[there]:
            return there
        self._first[channel] = there = int((self._table[channel] + self._gone).argmax())
        self._best[channel] = self._table[channel, there]
        return there

    def _nearest(self, channel: int, count: int) -> list[int]:
        """The ``count`` most similar channels alive, most similar first, ties to the lower index.

        Where fewer are alive, channels that have gone and the channel itself follow.
        """
        row = self._table[channel] + self._gone
        if count < len(row):
            bound = np.partition(row, -count)[-count]
            above, level = np.flatnonzero(row > bound), np.flatnonzero(row == bound)
            candidates = np.sort(np.concatenate([above, level[: count - len(above)]]))
        else:
            candidates = np.arange(len(row))
        ranked: list[int] = candidates[np.argsort(-row[candidates], kind="stable")].tolist()
        return ranked
