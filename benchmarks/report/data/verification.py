"""Face verification: accuracies, paired differences and ROC points of the records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...datasets.evaluation import Stage, Verification, unpack
from ...records.schema import RunRecord
from .leaderboard import STAGES, Leaderboard, Row
from .paired import Paired, compare_pairs

_Flags: TypeAlias = NDArray[np.bool_]
_FIELDS: tuple[Stage, ...] = ("one_shot", "one_shot_bn", "fine_tuned")
VERIFICATION_STAGES: dict[Stage, str] = {"base": "base", **dict(zip(_FIELDS, STAGES, strict=True))}
"""Fields of a record and the names of the stages, in the order of the run."""


def is_verification(board: Leaderboard) -> bool:
    """Whether every run of a table was evaluated on pairs."""
    return all(last_evaluation(run) is not None for row in board.rows for run in row.runs)


def last_evaluation(record: RunRecord) -> Verification | None:
    """Details of the last stage of a run."""
    found = [record.evaluations[stage] for stage in VERIFICATION_STAGES if stage in record.evaluations]
    return found[-1].verification if found else None


def paired_with_reference(board: Leaderboard, row: Row) -> Paired | None:
    """A row against the reference on the same pairs, over the seeds both have; None without any or for itself."""
    titled = [other for other in board.rows if other.criterion == board.setup.reference]
    # Of two versions of a suite that both use the title, the later one counts.
    reference = max(titled, key=lambda other: max(run.created for run in other.runs), default=None)
    if reference is None or reference is row:
        return None
    return _compared(*(_correct(other, board.test_images, last_evaluation) for other in (row, reference)))


def paired_with_base(board: Leaderboard, row: Row) -> Paired | None:
    """The last stage of a row against the network before pruning, on the same pairs; None without records of both."""
    return _compared(_correct(row, board.test_images, last_evaluation), _correct(row, board.test_images, _base))


def roc_points(verification: Verification) -> tuple[list[float], list[float]]:
    """False accept rates above 0, for a logarithmic axis, and the true accept rates at them in percent."""
    shown = [(far, 100 * tar) for far, tar in verification.roc if far > 0]
    return [far for far, _ in shown], [tar for _, tar in shown]


def base_evaluation(board: Leaderboard) -> Verification:
    """Details of the network before pruning."""
    return stage_evaluations(board.rows[0], "base")[0]


def _compared(own: Mapping[int, _Flags], reference: Mapping[int, _Flags]) -> Paired | None:
    shared = sorted(own.keys() & reference.keys())
    return compare_pairs([own[seed] for seed in shared], [reference[seed] for seed in shared]) if shared else None


def _correct(row: Row, pairs: int, evaluation: Callable[[RunRecord], Verification | None]) -> dict[int, _Flags]:
    """Which pairs an evaluation judged right, by seed."""
    found = {run.inputs.seed: evaluation(run) for run in row.runs}
    return {seed: unpack(details.right, pairs) for seed, details in found.items() if details is not None}


def _base(record: RunRecord) -> Verification | None:
    return record.evaluations["base"].verification if "base" in record.evaluations else None


def stage_evaluations(row: Row, stage: Stage) -> list[Verification]:
    """Details of one stage, of the seeds that have them."""
    found = [run.evaluations[stage].verification for run in row.runs if stage in run.evaluations]
    return [details for details in found if details is not None]
