"""The difference of two networks on the same test, item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_RESAMPLES = 10_000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Paired:
    """A comparison on the same items, over one or more seeds.

    Attributes:
        difference: mean share of correct items minus that of the reference, in [-1, 1].
        low: lower end of the 95 % interval for other items of the same kind, by a paired bootstrap.
        high: upper end.
        p_values: of McNemar's exact test, one for each seed: how likely counts of "only this one correct" and "only the
            reference correct" that differ as much are if neither network is better.
        items: how many there are.
    """

    difference: float
    low: float
    high: float
    p_values: tuple[float, ...]
    items: int


def compare_pairs(own: Sequence[NDArray[np.bool_]], reference: Sequence[NDArray[np.bool_]], *, seed: int = 0) -> Paired:
    """Compare which items are correct.

    Items are resampled with all their seeds together, because results of one item under several seeds are correlated.
    That items share photographs or people is not taken into account.

    Args:
        own: for each seed, (N,) flags.
        reference: the same for the reference, seed by seed.
        seed: of the bootstrap.

    Raises:
        ValueError: if there are no seeds, or numbers of seeds or items differ.
    """
    if not own or len(own) != len(reference) or len({len(flags) for flags in (*own, *reference)}) != 1:
        sizes = [[len(flags) for flags in side] for side in (own, reference)]
        raise ValueError(f"own and reference: equally many seeds and items, got {sizes[0]} and {sizes[1]}")
    ours, theirs = np.stack(own).astype(np.int64), np.stack(reference).astype(np.int64)
    # By how many seeds one network is ahead: few different values, so that drawing their counts is enough.
    values, counts = np.unique((ours - theirs).sum(0), return_counts=True)
    items = ours.shape[1]
    drawn = np.random.default_rng(seed).multinomial(items, counts / items, size=_RESAMPLES) @ values
    low, high = np.quantile(drawn, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2]) / (items * len(ours))
    return Paired(
        difference=float((ours - theirs).mean()),
        low=float(low),
        high=float(high),
        p_values=tuple(_mcnemar(a, b) for a, b in zip(ours, theirs, strict=True)),
        items=items,
    )


def _mcnemar(own: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    better, worse = int((own > reference).sum()), int((own < reference).sum())
    return float(stats.binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0
