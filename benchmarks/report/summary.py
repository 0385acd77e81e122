"""From records to leaderboards: who may stand beside whom, and in what order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..files import hash_json
from ..records import FailureRecord, RunRecord, Setup
from .board import Leaderboard, Row
from .rows import last_accuracy, row_of

__all__ = ["Leaderboard", "Row", "leaderboards"]

_WITHIN_A_SUITE = ("target", "calibration_images")
_RANKINGS = ("local", "global", "isomorphic")


def leaderboards(records: Iterable[RunRecord], failures: Iterable[FailureRecord] = ()) -> list[Leaderboard]:
    """One leaderboard for each setup among the records.

    Records of different setups (another target, ranking, recipe, library version) are never averaged or ranked
    together. Setups that differ in nothing but target, ranking or number of calibration images follow each other,
    sorted by these; of others the one with the newest record comes first.

    Args:
        records: finished runs.
        failures: runs without a result; those of which a record exists all the same are passed over, and those of
            setups without any record too.
    """
    by_setup: dict[str, list[RunRecord]] = {}
    families: dict[str, int] = {}
    for record in sorted(records, key=lambda record: record.created, reverse=True):
        by_setup.setdefault(record.inputs.setup.key, []).append(record)
        families.setdefault(_family(record.inputs.setup), len(families))
    failed: dict[str, list[FailureRecord]] = {}
    for failure in failures:
        failed.setdefault(failure.inputs.setup.key, []).append(failure)
    boards = [_leaderboard(group, failed.get(key, [])) for key, group in by_setup.items()]
    return sorted(boards, key=lambda board: (families[_family(board.setup)], *_place(board.setup)))


def _family(setup: Setup) -> str:
    """What tables of one suite share, whatever their targets and rankings."""
    content = setup.model_dump(mode="json", exclude={"ranking"})
    content["conditions"] = {key: value for key, value in content["conditions"].items() if key not in _WITHIN_A_SUITE}
    return hash_json(content)


def _place(setup: Setup) -> tuple[bool, str, int, int]:
    target, images = setup.conditions.target, setup.conditions.calibration_images
    return target.operating_point is not None, str(target), _RANKINGS.index(setup.ranking), images


def _leaderboard(records: Sequence[RunRecord], failures: Sequence[FailureRecord]) -> Leaderboard:
    by_entry: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.inputs.seed):
        by_entry.setdefault(record.inputs.criterion.model_dump_json(), []).append(record)
    setup, done = records[0].inputs.setup, {record.inputs.key for record in records}
    failures = [failure for failure in failures if failure.inputs.key not in done]
    seeds = {record.inputs.seed for record in records} | {failure.inputs.seed for failure in failures}
    # The newest record comes first: of two versions of a suite that both use the title, the later one counts.
    entries = (record.inputs.criterion for record in records)
    referred = next((entry for entry in entries if entry.title == setup.reference), None)
    reference = {record.inputs.seed: last_accuracy(record) for record in records if record.inputs.criterion == referred}
    rows = [row_of(group, seeds, reference) for group in by_entry.values()]
    return Leaderboard(
        setup=setup,
        rows=tuple(sorted(rows, key=_rank)),
        failures=tuple(sorted(failures, key=lambda failure: (failure.inputs.criterion.title, failure.inputs.seed))),
        train_images=records[0].train_images,
        test_images=records[0].test_images,
        flops_unit=records[0].flops_unit,
        base_widths=records[0].before.widths,
        environments=tuple({record.environment.model_dump_json(): record.environment for record in records}.values()),
    )


def _rank(row: Row) -> tuple[bool, float, float, str]:
    tuned = row.fine_tuned.mean if row.fine_tuned else -1.0
    return bool(row.missing), -tuned, -(row.one_shot_bn or row.one_shot).mean, row.criterion
