"""Face verification: accuracies, paired differences and ROC points of the records."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...datasets.evaluation import Stage, Verification, unpack
from ...records.schema import RunRecord
from .leaderboard import Leaderboard, Row
from .paired import Paired, compare_pairs

_STAGES: dict[Stage, str] = {
    "base": "base",
    "one_shot": "one-shot",
    "one_shot_bn": "BN moved",
    "fine_tuned": "fine-tuned",
}


def is_verification(board: Leaderboard) -> bool:
    """Whether every run of a table was judged by pairs."""
    return all(last_evaluation(run) is not None for row in board.rows for run in row.runs)


def last_evaluation(record: RunRecord) -> Verification | None:
    """Details of the last stage that a run came to."""
    found = [record.evaluations[stage] for stage in _STAGES if stage in record.evaluations]
    return found[-1].verification if found else None


def paired_with_reference(board: Leaderboard, row: Row) -> Paired | None:
    """A row beside the reference on the same pairs, over the seeds both have; None for itself and without any."""
    called = [other for other in board.rows if other.criterion == board.setup.reference]
    # Of two versions of a suite that both use the title, the later one counts.
    reference = max(called, key=lambda other: max(run.created for run in other.runs), default=None)
    if reference is None or reference is row:
        return None
    sides = [_right(other, board.test_images) for other in (row, reference)]
    shared = sorted(sides[0].keys() & sides[1].keys())
    if not shared:
        return None
    return compare_pairs([sides[0][seed] for seed in shared], [sides[1][seed] for seed in shared])


def roc_points(verification: Verification) -> tuple[list[float], list[float]]:
    """False accept rates above 0, as a logarithmic axis needs them, and the true ones that go with them, in percent."""
    shown = [(far, 100 * tar) for far, tar in verification.roc if far > 0]
    return [far for far, _ in shown], [tar for _, tar in shown]


def base_evaluation(board: Leaderboard) -> Verification:
    """Details of the network before pruning."""
    return _details(board.rows[0], "base")[0]


def _right(row: Row, pairs: int) -> dict[int, NDArray[np.bool_]]:
    found = {}
    for run in row.runs:
        last = last_evaluation(run)
        if last is not None:
            found[run.inputs.seed] = unpack(last.right, pairs)
    return found


def _details(row: Row, stage: Stage) -> list[Verification]:
    found = [run.evaluations[stage].verification for run in row.runs if stage in run.evaluations]
    return [details for details in found if details is not None]
