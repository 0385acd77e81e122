"""How far two selections of channels agree, and how far two random ones would."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

from scipy import stats

from ...records.schema import RunRecord


@dataclass(frozen=True)
class Agreement:
    """How far pairs of runs agree on what to remove.

    Attributes:
        overlap: intersection over union (Jaccard index) of the removed channels, mean over layers and pairs, in [0, 1].
        chance: what it would be if each run had removed as many channels of each layer, chosen at random.
        pairs: how many pairs of runs it is a mean over.
        by_layer: overlap and chance by the layer at the root of each coupled group, means over pairs.
    """

    overlap: float
    chance: float
    pairs: int
    by_layer: dict[str, tuple[float, float]]


def overlap(first: Collection[int], second: Collection[int]) -> float:
    """Intersection over union of two sets of channels, in [0, 1]; two empty ones agree in full."""
    a, b = set(first), set(second)
    return len(a & b) / len(a | b) if a or b else 1.0


@cache
def chance_overlap(width: int, first: int, second: int) -> float:
    """Expected intersection over union of two independent random selections, in [0, 1].

    Exact: the number of channels in both is hypergeometric. Two empty selections agree in full.

    Args:
        width: channels to choose from.
        first: size of the first selection, 0 to ``width``.
        second: size of the second selection, 0 to ``width``.

    Raises:
        ValueError: if a size is out of range.
    """
    if not (0 <= first <= width and 0 <= second <= width):
        raise ValueError(f"first, second: 0 to width, which is {width}, got {first} and {second}")
    if not first and not second:
        return 1.0
    both = range(max(0, first + second - width), min(first, second) + 1)
    shares = stats.hypergeom.pmf(list(both), width, first, second)
    return float(sum(share * k / (first + second - k) for k, share in zip(both, shares, strict=True)))


def agreement(pairs: Sequence[tuple[RunRecord, RunRecord]]) -> Agreement | None:
    """The mean over pairs of runs on one network; None without a pair or if a record lacks the removed channels.

    All layers have equal weight, however many channels they have, and so have all pairs.
    """
    known = [(a, b, a.removed, b.removed) for a, b in pairs if a.removed is not None and b.removed is not None]
    if not known or len(known) < len(pairs):
        return None
    layers = list(dict.fromkeys(layer for _, _, first, second in known for layer in (*first, *second)))
    if not layers:
        return None
    by_layer = {}
    for layer in layers:
        found, expected = [], []
        for a, _, first, second in known:
            one, other = first.get(layer, ()), second.get(layer, ())
            found.append(overlap(one, other))
            # Without a recorded width the layer counts as no wider than the channels removed from it.
            width = a.before.widths.get(layer, len({*one, *other}))
            expected.append(chance_overlap(width, len(one), len(other)))
        by_layer[layer] = (statistics.fmean(found), statistics.fmean(expected))
    return Agreement(
        overlap=statistics.fmean(found for found, _ in by_layer.values()),
        chance=statistics.fmean(expected for _, expected in by_layer.values()),
        pairs=len(known),
        by_layer=by_layer,
    )
