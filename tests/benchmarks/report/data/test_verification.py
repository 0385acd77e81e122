from __future__ import annotations

import numpy as np
import pytest

from foad_plugins.benchmarks.datasets.evaluation import Evaluation, Verification, pack
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.data.verification import paired_with_reference

from ...conftest import MakeRecord


def right(count: int) -> dict[str, object]:
    """The first ``count`` of 400 pairs were judged right."""
    flags = pack(np.arange(400) < count)
    verification = Verification(folds=(0.5,), thresholds=(0.0,), roc=((0.0, 0.0),), tar=0.0, right=flags)
    evaluation = Evaluation(accuracy=count / 400, standard_error=0.0, verification=verification)
    return {"evaluations": {"fine_tuned": evaluation}, "accuracy": (0.9, 0.5, count / 400)}


def test_of_two_versions_of_the_reference_the_later_one_counts(make_record: MakeRecord) -> None:
    shared = {"setup": {"reference": "foad"}}
    records = [
        make_record("l1", **right(300), **shared),
        make_record("foad", entry={"settings": {"neighbors": 2}}, **right(390), **shared),
        make_record("foad", minute=1, **right(200), **shared),
    ]
    (board,) = leaderboards(records)
    (row,) = [row for row in board.rows if row.criterion == "l1"]
    paired = paired_with_reference(board, row)
    assert paired is not None
    assert paired.difference == pytest.approx(row.difference.mean) == pytest.approx(0.25)
