"""From records to leaderboards: which records share a table, and in what order rows stand."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

from ...records.schema import FailureRecord, Latency, RunRecord, Setup
from .estimates import Estimate, estimate, estimate_all
from .leaderboard import LatencyEstimate, Leaderboard, Row

_WITHIN_A_SUITE = ("target", "calibration_images")
_RANKINGS = ("local", "global", "isomorphic", "sensitivity")


def leaderboards(records: Iterable[RunRecord], failures: Iterable[FailureRecord] = ()) -> list[Leaderboard]:
    """One leaderboard for each setup among the records.

    Records of different setups (another target, ranking, recipe, library version) are never averaged or ranked
    together. Setups that differ in nothing but target, ranking or number of calibration images follow each other,
    sorted by these; of others the one with the newest record comes first.

    Args:
        records: finished runs.
        failures: runs without a result; those that have a record too are ignored, and those of setups without any
            record.
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
    return sorted(boards, key=lambda board: (families[_family(board.setup)], *_sort_key(board.setup)))


def _family(setup: Setup) -> str:
    """A hash of what tables of one suite share: all but target, ranking and number of calibration images."""
    return setup.model_copy(update={"ranking": "local"}).key_without(*_WITHIN_A_SUITE)


def _sort_key(setup: Setup) -> tuple[bool, str, int, int]:
    target, images = setup.conditions.target, setup.conditions.calibration_images
    return target.operating_point is not None, str(target), _RANKINGS.index(setup.ranking), images


def _leaderboard(records: Sequence[RunRecord], failures: Sequence[FailureRecord]) -> Leaderboard:
    by_criterion: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.inputs.seed):
        by_criterion.setdefault(record.inputs.criterion.model_dump_json(), []).append(record)
    setup, done = records[0].inputs.setup, {record.inputs.key for record in records}
    failures = [failure for failure in failures if failure.inputs.key not in done]
    seeds = {record.inputs.seed for record in records} | {failure.inputs.seed for failure in failures}
    # The newest record comes first: of two versions of a suite that both use the title, the later one counts.
    criteria = (record.inputs.criterion for record in records)
    chosen = next((criterion for criterion in criteria if criterion.title == setup.reference), None)
    reference = {record.inputs.seed: last_accuracy(record) for record in records if record.inputs.criterion == chosen}
    rows = [row_of(group, seeds, reference) for group in by_criterion.values()]
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


def last_accuracy(record: RunRecord) -> float:
    """The accuracy at the last stage: fine-tuned, or else with BN adjusted, or else right after pruning."""
    stages = record.accuracy
    return next(value for value in (stages.fine_tuned, stages.one_shot_bn, stages.one_shot) if value is not None)


def row_of(records: Sequence[RunRecord], seeds: Collection[int], reference: Mapping[int, float]) -> Row:
    """Statistics of one criterion over its seeds.

    Args:
        records: of the criterion under one setup, by seed; at least one.
        seeds: those that the table has.
        reference: last accuracy of the criterion that others are compared with, by seed; empty for none.
    """
    criterion = records[0].inputs.criterion
    present = tuple(record.inputs.seed for record in records)
    best = [record.accuracy.best_epoch for record in records]
    channels, channels_kept = _channels(records)
    return Row(
        criterion=criterion.title,
        method=criterion.model_dump_json(include={"name", "settings", "rule"}),
        compensate=criterion.compensate,
        rule=criterion.rule,
        seeds=present,
        missing=tuple(sorted(set(seeds) - set(present))),
        base=estimate([record.accuracy.base for record in records]),
        one_shot=estimate([record.accuracy.one_shot for record in records]),
        one_shot_bn=estimate_all([record.accuracy.one_shot_bn for record in records]),
        fine_tuned=estimate_all([record.accuracy.fine_tuned for record in records]),
        best_epoch=estimate_all([epoch.accuracy if epoch else None for epoch in best]),
        curve=_curve(records),
        difference=_difference(records, reference),
        params=estimate([record.after.params for record in records]),
        params_reduction=estimate([1 - record.after.params / record.before.params for record in records]),
        flops=estimate([record.after.flops for record in records]),
        flops_reduction=estimate([1 - record.after.flops / record.before.flops for record in records]),
        base_params=statistics.fmean(record.before.params for record in records),
        base_flops=statistics.fmean(record.before.flops for record in records),
        channels=channels,
        channels_kept=channels_kept,
        widths={
            layer: statistics.fmean(record.after.widths[layer] for record in records)
            for layer in records[0].after.widths
            if all(layer in record.after.widths for record in records)
        },
        latency=_latency(records),
        seconds_to_score=estimate([record.seconds_to_score for record in records]),
        peak_bytes_to_score=estimate_all([record.peak_bytes_to_score for record in records]),
        runs=tuple(records),
    )


def _difference(records: Sequence[RunRecord], reference: Mapping[int, float]) -> Estimate | None:
    if records[0].inputs.criterion.title == records[0].inputs.setup.reference:
        return None
    pairs = [(last_accuracy(record), reference.get(record.inputs.seed)) for record in records]
    differences = [own - other for own, other in pairs if other is not None]
    return estimate(differences) if differences else None


def _curve(records: Sequence[RunRecord]) -> tuple[Estimate, ...]:
    if len({len(record.epochs) for record in records}) > 1:
        return ()
    by_epoch = zip(*(record.epochs for record in records), strict=True)
    found = [estimate_all([epoch.test_accuracy for epoch in epochs]) for epochs in by_epoch]
    # A line through some of the epochs would suggest values that were not measured.
    return tuple(each for each in found if each is not None) if None not in found else ()


def _channels(records: Sequence[RunRecord]) -> tuple[float | None, Estimate | None]:
    """How many channels could be removed, and how many were kept."""
    before, kept = [], []
    for record in records:
        # The root of a group may be a layer whose width is not recorded.
        if record.removed is None or not record.removed.keys() <= record.before.widths.keys():
            return None, None
        before.append(sum(record.before.widths[layer] for layer in record.removed))
        kept.append(before[-1] - sum(map(len, record.removed.values())))
    return statistics.fmean(before), estimate(kept)


def _latency(records: Sequence[RunRecord]) -> tuple[LatencyEstimate, ...]:
    timed: dict[tuple[int, int], list[Latency]] = {}
    for record in records:
        for latency in record.latency:
            timed.setdefault((latency.batch_size, latency.threads), []).append(latency)
    return tuple(
        LatencyEstimate(
            batch_size=batch_size,
            threads=threads,
            before=estimate([latency.before for latency in found]),
            after=estimate([latency.after for latency in found]),
            speedup=estimate([latency.before / latency.after for latency in found]),
        )
        for (batch_size, threads), found in sorted(timed.items())
        if len(found) == len(records)
    )
