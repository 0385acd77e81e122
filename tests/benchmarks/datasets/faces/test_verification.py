from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from foad_plugins.benchmarks.datasets.evaluation import pack, unpack
from foad_plugins.benchmarks.datasets.faces.verification import FAR, best_threshold, roc_curve, verify
from foad_plugins.benchmarks.datasets.faces.view2 import Pair, View2


def a_view(folds: int = 3, count: int = 12) -> tuple[View2, np.ndarray]:
    """Pairs of points around one centre for each person, near enough to be mistaken now and then."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(8, 6)) + 2
    points = {f"{p}/{p}_{n}": centres[p] + random.normal(size=6) for p in range(8) for n in range(4)}
    pairs = []
    for fold in range(folds):
        for same in (True, False):
            for _ in range(count):
                first, other = random.choice(8, 2, replace=False)
                one, two = random.choice(4, 2, replace=False)
                pairs.append(
                    Pair(
                        f"{first}/{first}_{one}",
                        f"{first if same else other}/{first if same else other}_{two}",
                        same,
                        fold,
                    )
                )
    view = View2(tuple(pairs), folds)
    return view, np.array([points[name] for name in view.images])


def by_hand(view: View2, rows: np.ndarray) -> list[list[bool]]:
    """The protocol as one would do it with paper: every threshold is tried on the other folds."""
    at = dict(zip(view.images, rows, strict=True))
    judged = []
    for held in range(view.folds):
        others = [pair for pair in view.pairs if pair.fold != held]
        mean = sum(at[pair.first] + at[pair.second] for pair in others) / (2 * len(others))

        def cosine(pair: Pair, mean: np.ndarray = mean) -> float:
            a, b = at[pair.first] - mean, at[pair.second] - mean
            return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

        values = sorted(map(cosine, others))
        tried = [values[0] - 1, *((a + b) / 2 for a, b in pairwise(values)), values[-1] + 1]
        rights = [sum((cosine(pair) >= cut) == pair.same for pair in others) for cut in tried]
        best = [cut for cut, right in zip(tried, rights, strict=True) if right == max(rights)]
        cut = best[(len(best) - 1) // 2]
        judged.append([(cosine(pair) >= cut) == pair.same for pair in view.pairs if pair.fold == held])
    return judged


def test_it_is_the_protocol() -> None:
    view, rows = a_view()
    judged = by_hand(view, rows)
    evaluation = verify(rows, view)
    folds = [sum(fold) / len(fold) for fold in judged]
    mean = sum(folds) / 3
    assert 0.6 < mean < 1
    assert evaluation.verification.folds == pytest.approx(folds)
    assert evaluation.accuracy == pytest.approx(mean)
    deviation = math.sqrt(sum((fold - mean) ** 2 for fold in folds) / 2)
    assert evaluation.standard_error == pytest.approx(deviation / math.sqrt(3))
    assert unpack(evaluation.verification.right, len(view.pairs)).tolist() == [
        right for fold in judged for right in fold
    ]


def test_the_held_out_fold_does_not_influence_threshold_and_mean() -> None:
    view, rows = a_view()
    alone = {name for pair in view.pairs if pair.fold == 2 for name in (pair.first, pair.second)}
    alone -= {name for pair in view.pairs if pair.fold != 2 for name in (pair.first, pair.second)}
    changed = rows.copy()
    for number, name in enumerate(view.images):
        if name in alone:
            changed[number] = -9
    before, after = verify(rows, view), verify(changed, view)
    assert before.verification.thresholds[2] == after.verification.thresholds[2]


def test_what_does_not_change_a_cosine_around_the_mean_changes_nothing() -> None:
    view, rows = a_view()
    turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    assert verify(3 * rows @ turned + 5, view).verification.right == verify(rows, view).verification.right


def test_perfect_and_hopeless_embeddings() -> None:
    view, _ = a_view()
    people = sorted({name.partition("/")[0] for name in view.images})
    perfect = np.eye(len(people))[[people.index(name.partition("/")[0]) for name in view.images]]
    evaluation = verify(perfect, view)
    assert (evaluation.accuracy, evaluation.standard_error, evaluation.verification.tar) == (1, 0, 1)
    same = verify(np.ones_like(perfect), view)
    assert same.accuracy == 0.5
    assert same.verification.tar == 0


@pytest.mark.parametrize("wrong", [np.zeros((3, 2)), np.zeros(3), np.full((32, 2), np.nan)])
def test_embeddings_that_cannot_be_judged(wrong: np.ndarray) -> None:
    view, rows = a_view()
    if len(wrong) == 32:
        wrong = np.full_like(rows, np.nan)
    with pytest.raises(ValueError, match="embeddings"):
        verify(wrong, view)


@pytest.mark.parametrize(
    ("scores", "same", "threshold"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0.5),
        ([0.9, 0.1, 0.8, 0.2], [1, 0, 1, 0], 0.5),
        ([0.5, 0.5, 0.7], [0, 1, 1], None),
        ([0.1, 0.3], [1, 1], None),
    ],
)
def test_the_best_threshold(scores: list[float], same: list[int], threshold: float | None) -> None:
    found = best_threshold(np.array(scores), np.array(same, dtype=bool))
    right = [
        sum((score >= cut) == bool(truth) for score, truth in zip(scores, same, strict=True))
        for cut in np.linspace(-0.5, 1.5, 400)
    ]
    assert sum((score >= found) == bool(truth) for score, truth in zip(scores, same, strict=True)) == max(right)
    if threshold is not None:
        assert found == pytest.approx(threshold)


def test_the_roc_curve() -> None:
    far, tar = roc_curve(np.array([0.9, 0.8, 0.7, 0.7, 0.4, 0.1]), np.array([1, 1, 0, 1, 1, 0], dtype=bool))
    assert far.tolist() == [0, 0.5, 1]
    assert tar.tolist() == [0.5, 1, 1]


def test_tar_at_a_false_accept_rate_that_few_pairs_can_show() -> None:
    random = np.random.default_rng(2)
    same = np.arange(6000) % 2 == 0
    scores = random.normal(size=6000) + 3 * same
    far, tar = roc_curve(scores, same)
    allowed = sorted(scores[~same], reverse=True)[3]
    assert tar[far <= FAR][-1] == (scores[same] > allowed).mean()


@pytest.mark.parametrize("count", [1, 8, 13])
def test_flags_as_text(count: int) -> None:
    flags = np.random.default_rng(count).random(count) < 0.5
    assert unpack(pack(flags), count).tolist() == flags.tolist()
    with pytest.raises(ValueError, match="count"):
        unpack(pack(flags), count + 8)
