"""From records to leaderboards: who may stand beside whom, and what a row says."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..environment import Environment
from ..records import RunRecord, Setup

__all__ = ["Leaderboard", "Row", "Spread", "leaderboards", "spread"]


@dataclass(frozen=True)
class Spread:
    """Mean over seeds and sample standard deviation (divided by n - 1), None for a single seed."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Row:
    """One entry's figures over its seeds.

    Attributes:
        criterion: its title.
        method: the criterion's name and settings as JSON, the same with and without compensation.
        compensate: how readers took over what was removed, None for not at all.
        seeds: the seeds that are there.
        base: accuracy before pruning, in [0, 1].
        one_shot: accuracy after pruning.
        one_shot_bn: the same with the statistics of batch normalisation moved; None unless every seed has it.
        fine_tuned: accuracy after fine-tuning; None unless every seed has it.
        difference: last accuracy there is (fine-tuned, or else one-shot) minus that of the board's reference, seed by
            seed; None for the reference itself, and unless the reference has every seed of the row.
        params: mean number of parameters after pruning.
        params_reduction: mean fraction of the parameters that went.
        flops: mean FLOPs of one image after pruning.
        flops_reduction: mean fraction of the FLOPs that went.
        base_flops: mean FLOPs before pruning.
        seconds_to_score: wall-clock time of the criterion.
    """

    criterion: str
    method: str
    compensate: str | None
    seeds: tuple[int, ...]
    base: Spread
    one_shot: Spread
    one_shot_bn: Spread | None
    fine_tuned: Spread | None
    difference: Spread | None
    params: float
    params_reduction: float
    flops: float
    flops_reduction: float
    base_flops: float
    seconds_to_score: Spread


@dataclass(frozen=True)
class Leaderboard:
    """All entries that ran under one setup, best first: by fine-tuned accuracy, then one-shot, then title.

    Attributes:
        setup: what the rows share.
        rows: at least one.
        train_images: in the training part.
        test_images: behind every accuracy.
        flops_unit: of every FLOPs figure.
        environments: the different circumstances under which the runs were made.
    """

    setup: Setup
    rows: tuple[Row, ...]
    train_images: int
    test_images: int
    flops_unit: str
    environments: tuple[Environment, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that some row has."""
        return tuple(sorted({seed for row in self.rows for seed in row.seeds}))

    @property
    def is_complete(self) -> bool:
        """Whether every row has every seed."""
        return all(row.seeds == self.seeds for row in self.rows)


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of at least one value."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def leaderboards(records: Iterable[RunRecord]) -> list[Leaderboard]:
    """One leaderboard for each setup among the records, the one with the newest record first.

    Records of different setups (another target, recipe, library version) are never averaged or ranked
    together.
    """
    by_setup: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.created, reverse=True):
        by_setup.setdefault(record.inputs.setup.key, []).append(record)
    return [_leaderboard(group) for group in by_setup.values()]


def _leaderboard(records: Sequence[RunRecord]) -> Leaderboard:
    by_criterion: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.inputs.seed):
        by_criterion.setdefault(record.inputs.criterion.model_dump_json(), []).append(record)
    setup = records[0].inputs.setup
    reference = {
        record.inputs.seed: _last(record) for record in records if record.inputs.criterion.title == setup.reference
    }
    rows = [_row(group, reference) for group in by_criterion.values()]
    return Leaderboard(
        setup=setup,
        rows=tuple(sorted(rows, key=_rank)),
        train_images=records[0].train_images,
        test_images=records[0].test_images,
        flops_unit=records[0].flops_unit,
        environments=tuple(dict.fromkeys(record.environment for record in records)),
    )


def _rank(row: Row) -> tuple[float, float, str]:
    tuned = row.fine_tuned.mean if row.fine_tuned else -1.0
    return -tuned, -(row.one_shot_bn or row.one_shot).mean, row.criterion


def _last(record: RunRecord) -> float:
    """The accuracy of the network as the run left it."""
    stages = record.accuracy
    return next(value for value in (stages.fine_tuned, stages.one_shot_bn, stages.one_shot) if value is not None)


def _row(records: Sequence[RunRecord], reference: Mapping[int, float]) -> Row:
    entry = records[0].inputs.criterion
    seeds = tuple(record.inputs.seed for record in records)
    compared = entry.title != records[0].inputs.setup.reference and reference.keys() >= set(seeds)
    return Row(
        criterion=entry.title,
        method=entry.model_dump_json(include={"name", "settings"}),
        compensate=entry.compensate,
        seeds=seeds,
        base=spread([record.accuracy.base for record in records]),
        one_shot=spread([record.accuracy.one_shot for record in records]),
        one_shot_bn=_whole([record.accuracy.one_shot_bn for record in records]),
        fine_tuned=_whole([record.accuracy.fine_tuned for record in records]),
        difference=spread([_last(record) - reference[record.inputs.seed] for record in records]) if compared else None,
        params=statistics.fmean(record.after.params for record in records),
        params_reduction=statistics.fmean(1 - record.after.params / record.before.params for record in records),
        flops=statistics.fmean(record.after.flops for record in records),
        flops_reduction=statistics.fmean(1 - record.after.flops / record.before.flops for record in records),
        base_flops=statistics.fmean(record.before.flops for record in records),
        seconds_to_score=spread([record.seconds_to_score for record in records]),
    )


def _whole(values: Sequence[float | None]) -> Spread | None:
    """The spread of values of which none is missing."""
    present = [value for value in values if value is not None]
    return spread(present) if len(present) == len(values) else None
