"""What a picture of a similarity matrix needs: an order that shows its clusters, and the range of its colors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..criterion.selection import to_numpy

__all__ = ["cluster_order", "similarity_range"]


def cluster_order(similarity: Tensor) -> list[int]:
    """The leaves of the average-linkage tree over the distances ``1 - similarity``.

    Clusters are contiguous. Each merge turns its two sides so that the ends which meet are the most similar of the
    four, ties to the sides as they are. The tree grows along nearest-neighbor chains, which takes C**2 steps in all.

    Args:
        similarity: (C, C) tensor, as :func:`~foad_plugins.channel_similarity` returns it.

    Returns:
        The C channel indices, each once.

    Raises:
        TypeError: not a tensor.
        ValueError: not a square matrix, or NaN or Inf in it.
    """
    table = to_numpy(similarity)
    if not np.isfinite(table).all():
        raise ValueError("similarity must be finite")
    distance = 1 - (table + table.T) / 2
    np.fill_diagonal(distance, np.inf)
    leaves: dict[int, list[int]] = {channel: [channel] for channel in range(len(table))}
    chain: list[int] = []
    while len(leaves) > 1:
        if not chain:
            chain.append(next(iter(leaves)))
        row = distance[chain[-1]]
        near = int(row.argmin())
        # At a tie the chain turns back, or it could go round in circles.
        if len(chain) < 2 or row[chain[-2]] > row[near]:
            chain.append(near)
            continue
        first, second = sorted((chain.pop(), chain.pop()))
        rows, sizes = distance[[first, second]], [len(leaves[first]), len(leaves[second])]
        # Rounding must not bring a merged cluster nearer than its parts were: the rest of the chain counts on that.
        merged = np.maximum(np.average(rows, axis=0, weights=sizes), rows.min(0))
        merged[[first, second]] = np.inf
        distance[first], distance[:, first] = merged, merged
        distance[second], distance[:, second] = np.inf, np.inf
        leaves[first] = _joined(leaves[first], leaves.pop(second), table)
    return [channel for group in leaves.values() for channel in group]


def similarity_range(table: npt.NDArray[np.floating]) -> tuple[float, float]:
    """The least and the greatest similarity between two different channels, the least a little below the greatest.

    Args:
        table: (C, C); values that are no similarities (not finite, not above 0) are passed over.
    """
    apart = table[~np.eye(len(table), dtype=bool)]
    apart = apart[np.isfinite(apart) & (apart > 0)]
    high = float(apart.max()) if apart.size else 1.0
    return min(float(apart.min()) if apart.size else high, 0.99 * high), high


def _joined(left: list[int], right: list[int], table: npt.NDArray[np.floating]) -> list[int]:
    turns = [(left, right), (left[::-1], right), (left, right[::-1]), (left[::-1], right[::-1])]
    one, other = max(turns, key=lambda turn: table[turn[0][-1], turn[1][0]])
    return one + other
