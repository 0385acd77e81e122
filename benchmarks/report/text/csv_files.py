"""Everything as CSV, for programs: one line for each run, each row of a table, or each layer.

Units are in the headings. Measurements are written in full, numbers derived from them with twelve digits, so that
another release of a numerical library does not change the files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from ...records.schema import FailureRecord, RunInputs, RunRecord
from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard, Row

_COST = {"params": "parameters", "flops": "FLOPs (multiply-adds of one image)"}


def write_csv(lines: Iterable[dict[str, Any]]) -> str:
    """A CSV file with the columns that any of the lines has, in order of first use."""
    lines = list(lines)
    columns = dict.fromkeys(column for line in lines for column in line)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def runs_csv(boards: Sequence[Leaderboard], without_results: Sequence[FailureRecord] = ()) -> str:
    """A line for each run, with the reason for failed ones, in the order of the tables.

    Args:
        boards: the tables.
        without_results: failed runs of setups without a single result, which have no table.
    """
    lines = []
    for board in boards:
        lines += [_run(run) for row in board.rows for run in row.runs]
        lines += [_failed(failure) for failure in board.failures]
    return write_csv([*lines, *map(_failed, without_results)])


def summary_csv(boards: Sequence[Leaderboard]) -> str:
    """A line for each row of each table: means, half 95 % intervals and numbers of seeds."""
    return write_csv(_row(board, place, row) for board in boards for place, row in enumerate(board.rows, start=1))


def widths_csv(boards: Sequence[Leaderboard]) -> str:
    """A line for each layer of each row: output channels before pruning and, mean over seeds, after."""
    return write_csv(
        {
            **_setup(row.runs[0].inputs),
            "criterion": row.criterion,
            "layer": layer,
            "output channels before": board.base_widths.get(layer, ""),
            "output channels after, mean": twelve_digits(width),
        }
        for board in boards
        for row in board.rows
        for layer, width in row.widths.items()
    )


def twelve_digits(value: float) -> str:
    """A number derived from measurements."""
    return f"{value:.12g}"


def _setup(inputs: RunInputs) -> dict[str, Any]:
    setup = inputs.setup
    return {
        "suite": setup.suite,
        "kind": setup.kind,
        "model": setup.conditions.model.name,
        "dataset": setup.conditions.dataset.name,
        "target": str(setup.conditions.target),
        "ranking": setup.ranking,
        "calibration images": setup.conditions.calibration_images,
        "epochs of fine-tuning": setup.conditions.finetune_recipe.epochs,
        "limit of steps": setup.conditions.limit_steps or "",
        "device": setup.device,
        "setup": setup.key[:16],
    }


def _criterion(inputs: RunInputs) -> dict[str, Any]:
    criterion = inputs.criterion
    return {
        "criterion": criterion.title,
        "name": criterion.name,
        "settings (JSON)": json.dumps(criterion.settings, sort_keys=True),
        "compensation": criterion.compensate or "",
        "rule t": criterion.rule.neighbors if criterion.rule else "",
        "rule s": criterion.rule.threshold if criterion.rule else "",
    }


def _run(record: RunRecord) -> dict[str, Any]:
    accuracy, best = record.accuracy, record.accuracy.best_epoch
    line = {
        **_setup(record.inputs),
        **_criterion(record.inputs),
        "seed": record.inputs.seed,
        "status": "done",
        "reason": "",
        "accuracy base (fraction)": accuracy.base,
        "accuracy before fine-tuning (fraction)": accuracy.one_shot,
        "accuracy BN adjusted (fraction)": accuracy.one_shot_bn,
        "accuracy fine-tuned (fraction)": accuracy.fine_tuned,
        "accuracy best epoch, chosen on test data (fraction)": best and best.accuracy,
        "best epoch": best and best.epoch,
    }
    for name, heading in _COST.items():
        line[f"{heading} before"] = getattr(record.before, name)
        line[f"{heading} after"] = getattr(record.after, name)
    for latency in record.latency:
        line[f"latency before, batch {latency.batch_size} (s)"] = latency.before
        line[f"latency after, batch {latency.batch_size} (s)"] = latency.after
    return {
        **line,
        "time to score (s)": record.seconds_to_score,
        "peak memory to score (bytes)": record.peak_bytes_to_score,
        "time in all (s)": record.seconds_total,
        "threads": record.environment.threads,
        "commit": record.environment.git_commit,
        "created": record.created.isoformat(),
    }


def _failed(failure: FailureRecord) -> dict[str, Any]:
    return {
        **_setup(failure.inputs),
        **_criterion(failure.inputs),
        "seed": failure.inputs.seed,
        "status": "failed",
        "reason": failure.reason,
        "commit": failure.environment.git_commit,
        "created": failure.created.isoformat(),
    }


def _row(board: Leaderboard, place: int, row: Row) -> dict[str, Any]:
    line = {
        **_setup(row.runs[0].inputs),
        **_criterion(row.runs[0].inputs),
        "place": "" if row.missing else place,
        "seeds": len(row.seeds),
        "seeds missing": len(row.missing),
    }
    line |= _estimate("accuracy base", "fraction", row.base)
    line |= _estimate("accuracy before fine-tuning", "fraction", row.one_shot)
    line |= _estimate("accuracy BN adjusted", "fraction", row.one_shot_bn)
    line |= _estimate("accuracy fine-tuned", "fraction", row.fine_tuned)
    line |= _estimate("accuracy best epoch, chosen on test data", "fraction", row.best_epoch)
    line |= _estimate(f"accuracy difference to {board.setup.reference}", "fraction", row.difference)
    line |= _estimate("parameters", "", row.params)
    line |= _estimate("parameters removed", "fraction", row.params_reduction)
    line |= _estimate("FLOPs", "multiply-adds of one image", row.flops)
    line |= _estimate("FLOPs removed", "fraction", row.flops_reduction)
    line |= _estimate("channels kept", "", row.channels_kept)
    for timed in row.latency:
        line |= _estimate(f"latency before, batch {timed.batch_size}", "s", timed.before)
        line |= _estimate(f"latency after, batch {timed.batch_size}", "s", timed.after)
        line |= _estimate(f"speed-up, batch {timed.batch_size}", "ratio", timed.speedup)
    line |= _estimate("time to score", "s", row.seconds_to_score)
    return line | _estimate("peak memory to score", "bytes", row.peak_bytes_to_score)


def _estimate(name: str, unit: str, value: Estimate | None) -> dict[str, str]:
    """Two columns; none where the value is missing."""
    if value is None:
        return {}
    in_unit = f" ({unit})" if unit else ""
    return {
        f"{name}, mean{in_unit}": twelve_digits(value.mean),
        f"{name}, half 95 % interval{in_unit}": "" if value.margin is None else twelve_digits(value.margin),
    }
