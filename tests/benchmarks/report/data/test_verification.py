from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foad_plugins.benchmarks.datasets.evaluation import Evaluation, Verification, pack
from foad_plugins.benchmarks.report import leaderboards
from foad_plugins.benchmarks.report.data.verification import paired_with_base, paired_with_reference
from foad_plugins.benchmarks.report.text.verification import verification_cells

from ...conftest import MakeRecord


def right(count: int) -> dict[str, Any]:
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


def test_the_last_stage_is_compared_with_the_base_on_the_same_pairs(make_record: MakeRecord) -> None:
    fine_tuned, base = right(300), right(350)
    details = {"fine_tuned": fine_tuned["evaluations"]["fine_tuned"], "base": base["evaluations"]["fine_tuned"]}
    record = make_record("foad", evaluations=details, accuracy=(350 / 400, 0.5, 300 / 400))
    (board,) = leaderboards([record])
    paired = paired_with_base(board, board.rows[0])
    assert paired is not None
    assert paired.difference == pytest.approx(-50 / 400)
    assert paired.low < paired.difference < paired.high < 0
    columns, (not_pruned, after) = verification_cells(board)
    column = columns.index("Δ base on the same pairs (points)")
    assert not_pruned[column] == ""
    assert after[column].startswith("-12.50 [")
