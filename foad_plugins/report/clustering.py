"""Order and color range of a picture of a similarity matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..criterion.selection import to_numpy

__all__ = ["cluster_order", "similarity_range"]

# The best order of the leaves takes a third of a second for this many channels, and cubic time.
_MOST_ORDERED = 512


def cluster_order(similarity: Tensor) -> list[int]:
    """The leaves of the average-linkage tree over the distances ``1 - similarity``.

    Clusters are contiguous. Up to 512 channels, neighboring leaves are as similar as the tree allows.

    Args:
        similarity: (C, C) tensor, as :func:`~foad_plugins.channel_similarity` returns it.

    Returns:
        The C channel indices, each once.

    Raises:
        ImportError: SciPy is not installed (extra ``report``).
        TypeError: not a tensor.
        ValueError: not a square matrix, or NaN or Inf in it.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    table = to_numpy(similarity)
    if not np.isfinite(table).all():
        raise ValueError("similarity must be finite")
    if len(table) < 2:
        return list(range(len(table)))
    distances = squareform(1 - (table + table.T) / 2, checks=False)
    tree = linkage(distances, "average", optimal_ordering=len(table) <= _MOST_ORDERED)
    return [int(channel) for channel in leaves_list(tree)]


def similarity_range(table: npt.NDArray[np.floating]) -> tuple[float, float]:
    """The least and the greatest similarity between two different channels, the least a little below the greatest.

    Args:
        table: (C, C); values that are no similarities (not finite, not above 0) are ignored.
    """
    apart = table[~np.eye(len(table), dtype=bool)]
    apart = apart[np.isfinite(apart) & (apart > 0)]
    high = float(apart.max()) if apart.size else 1.0
    return min(float(apart.min()) if apart.size else high, 0.99 * high), high
