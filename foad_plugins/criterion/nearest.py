"""The most similar kept channel, for whatever prefix of an order is removed, without the matrix of similarities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .selection import Selection, to_numpy

__all__ = ["NearestKept"]


class NearestKept:
    """Gives the selection that removes the first channels of an order.

    For each channel only those channels are stored that are more similar to it than all that are removed later: a few,
    instead of C.

    Args:
        similarity: (C, C) tensor as :func:`~foad_plugins.channel_similarity` returns it.
        sequence: the C channels in the order of removal.

    Raises:
        TypeError: ``similarity`` is no tensor.
        ValueError: not a square matrix, NaN in it, or ``sequence`` does not hold each channel once.

    Example:
        >>> import torch
        >>> similarity = torch.tensor([[1.0, 0.9, 0.2], [0.9, 1.0, 0.3], [0.2, 0.3, 1.0]])
        >>> NearestKept(similarity, [1, 0, 2]).selection(2).representative
        (2, 2)
    """

    def __init__(self, similarity: Tensor, sequence: Sequence[int]) -> None:
        table = to_numpy(similarity)
        if sorted(sequence) != list(range(len(table))):
            raise ValueError(f"sequence must hold each of the {len(table)} channels once, got {len(sequence)} entries")
        self._sequence = np.array(sequence, dtype=np.intp)
        self._nearest = [self._later(table[channel], place) for place, channel in enumerate(self._sequence)]

    def _later(
        self, row: npt.NDArray[np.floating], place: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.floating]]:
        """Places in the order, ascending, of the channels more similar than all later ones; and their similarities.

        Of equally similar channels the one of the lower index counts as more similar.
        """
        values = row[self._sequence[place + 1 :]][::-1]
        highest = np.flatnonzero(values == np.maximum.accumulate(values))
        # Of each level the channels of lower index than those before: each level begins below the last one.
        level = np.cumsum(np.diff(values[highest], prepend=np.nan) != 0)
        rank = self._sequence[::-1][highest] - len(row) * level
        chosen = highest[rank == np.minimum.accumulate(rank)][::-1]
        return (len(row) - 1 - chosen).astype(np.int32), values[chosen]

    def selection(self, count: int) -> Selection:
        """The selection that removes the first ``count`` channels, each represented by the most similar kept one.

        Args:
            count: fewer than C.

        Raises:
            ValueError: ``count`` is negative or not below C.
        """
        channels = len(self._sequence)
        if not (0 <= count < channels or count == channels == 0):
            raise ValueError(f"count must be in 0, ..., {channels - 1}, got {count!r}")
        found: dict[int, tuple[int, float]] = {}
        for place in range(count):
            later, values = self._nearest[place]
            number = int(np.searchsorted(later, count))
            found[int(self._sequence[place])] = int(self._sequence[later[number]]), float(values[number])
        removed = sorted(found)
        return Selection(
            kept=tuple(sorted(self._sequence[count:].tolist())),
            removed=tuple(removed),
            representative=tuple(found[channel][0] for channel in removed),
            similarity=tuple(found[channel][1] for channel in removed),
        )
