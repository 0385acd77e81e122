"""Verification accuracy of embeddings by LFW's protocol for view 2 (Huang et al. 2007)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from ..evaluation import Evaluation, Verification, pack
from .view2 import View2

FAR = 1e-3
_DECADES = 4

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def verify(embeddings: NDArray[np.floating], view: View2) -> Evaluation:
    """Judge every pair with what was chosen on the other folds.

    For each fold, the mean embedding of the other folds' pairs is subtracted from all embeddings, a pair's score is the
    cosine of the two, and the threshold is the one that judges most pairs of the other folds right.

    Args:
        embeddings: (N, D), one for each of ``view.images``, in their order.
        view: the pairs.

    Returns:
        Mean accuracy over the folds, its standard error (deviation over the folds, divided by n - 1, by the root of
        their number), ROC and the judgement of each pair.

    Raises:
        ValueError: if the embeddings are not as many as the images, or not finite.
    """
    if embeddings.ndim != 2 or len(embeddings) != len(view.images):
        raise ValueError(f"embeddings: ({len(view.images)}, D), a row an image, got {embeddings.shape}")
    rows = embeddings.astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("embeddings: finite numbers, got NaN or Inf")
    number = {name: index for index, name in enumerate(view.images)}
    left = np.array([number[pair.first] for pair in view.pairs])
    right = np.array([number[pair.second] for pair in view.pairs])
    same = np.array([pair.same for pair in view.pairs])
    fold = np.array([pair.fold for pair in view.pairs])
    scores = np.empty(len(same))
    judged = np.empty(len(same), dtype=np.bool_)
    thresholds = []
    for held in range(view.folds):
        others, inside = fold != held, fold == held
        mean = np.concatenate([rows[left[others]], rows[right[others]]]).mean(0)
        unit = _unit(rows - mean)
        cosine = (unit[left] * unit[right]).sum(1)
        threshold = best_threshold(cosine[others], same[others])
        thresholds.append(threshold)
        scores[inside] = cosine[inside]
        judged[inside] = (cosine[inside] >= threshold) == same[inside]
    accuracies = [float(judged[fold == held].mean()) for held in range(view.folds)]
    far, tar = roc_curve(scores, same)
    reached = tar[far <= FAR]
    return Evaluation(
        accuracy=float(np.mean(accuracies)),
        standard_error=float(np.std(accuracies, ddof=1) / np.sqrt(view.folds)),
        verification=Verification(
            folds=tuple(accuracies),
            thresholds=tuple(round(threshold, 6) for threshold in thresholds),
            roc=_thinned(far, tar),
            far=FAR,
            tar=float(reached[-1]),
            right=pack(judged),
        ),
    )


def best_threshold(scores: Floats, same: Flags) -> float:
    """The threshold that judges most pairs right, half-way between two scores; the middle one of several.

    Args:
        scores: (P,), pairs with at least the threshold are called the same.
        same: (P,), what they are.
    """
    order = np.argsort(scores, kind="stable")
    ordered, truth = scores[order], same[order]
    # Right are the different ones below a cut and the same ones above; cuts between equal scores are none.
    right = np.concatenate([[0], np.cumsum(~truth)]) + truth.sum() - np.concatenate([[0], np.cumsum(truth)])
    edges = np.concatenate([[ordered[0] - 1e-6], ordered, [ordered[-1] + 1e-6]])
    cuts = (edges[:-1] + edges[1:]) / 2
    allowed = np.concatenate([[True], np.diff(ordered) > 0, [True]])
    best = np.flatnonzero(allowed & (right == right[allowed].max()))
    return float(cuts[best[(len(best) - 1) // 2]])


def roc_curve(scores: Floats, same: Flags) -> tuple[Floats, Floats]:
    """False and true accept rates, one point for each false accept rate that a threshold gives, the highest true one.

    Args:
        scores: (P,), pairs with at least a threshold are accepted.
        same: (P,), with at least one pair of each kind.

    Returns:
        Rates in [0, 1], ascending, from a false accept rate of 0 to 1.
    """
    far, tar, _ = metrics.roc_curve(same, scores, drop_intermediate=False)
    highest = np.append(np.diff(far) > 0, True)
    return far[highest], tar[highest]


def _unit(rows: Floats) -> Floats:
    # An embedding that is the mean itself has no direction; it is like none.
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _thinned(far: Floats, tar: Floats) -> tuple[tuple[float, float], ...]:
    """The points at some sixty false accept rates that are equally far apart on a logarithmic scale."""
    asked = np.unique(np.concatenate([[0.0], np.logspace(-_DECADES, 0, 60)]))
    chosen = np.unique(np.searchsorted(far, asked, side="right") - 1)
    return tuple((round(float(far[point]), 6), round(float(tar[point]), 6)) for point in chosen)
