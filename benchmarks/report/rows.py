"""From the records of one entry to its row."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence

from ..records import Latency, RunRecord
from .board import LatencyEstimate, Row
from .estimates import Estimate, estimate, estimate_all

__all__ = ["last_accuracy", "row_of"]


def last_accuracy(record: RunRecord) -> float:
    """The accuracy of the network as the run left it: fine-tuned, or else with BN moved, or else one-shot."""
    stages = record.accuracy
    return next(value for value in (stages.fine_tuned, stages.one_shot_bn, stages.one_shot) if value is not None)


def row_of(records: Sequence[RunRecord], seeds: Collection[int], reference: Mapping[int, float]) -> Row:
    """Figures of one entry over its seeds.

    Args:
        records: of the entry under one setup, by seed; at least one.
        seeds: those that the table has.
        reference: last accuracy of the entry that others are compared with, by seed; empty for none.
    """
    entry = records[0].inputs.criterion
    there = tuple(record.inputs.seed for record in records)
    best = [record.accuracy.best_epoch for record in records]
    channels, channels_kept = _channels(records)
    return Row(
        criterion=entry.title,
        method=entry.model_dump_json(include={"name", "settings", "rule"}),
        compensate=entry.compensate,
        rule=entry.rule,
        seeds=there,
        missing=tuple(sorted(set(seeds) - set(there))),
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
    # A line through a few of the epochs would say what was not measured.
    return tuple(entry for entry in found if entry is not None) if None not in found else ()


def _channels(records: Sequence[RunRecord]) -> tuple[float | None, Estimate | None]:
    """How many there were, and how many were kept."""
    there, kept = [], []
    for record in records:
        # The root of a group need not be a layer whose width was kept.
        if record.removed is None or not record.removed.keys() <= record.before.widths.keys():
            return None, None
        there.append(sum(record.before.widths[layer] for layer in record.removed))
        kept.append(there[-1] - sum(map(len, record.removed.values())))
    return statistics.fmean(there), estimate(kept)


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
