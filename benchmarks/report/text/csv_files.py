"""Everything as CSV, for programs: a line a run, a line a row of a table, a line a layer.

Units stand in the headings. What runs measured is written in full, what follows from it with twelve figures, so that
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

__all__ = ["runs_csv", "summary_csv", "widths_csv", "write_csv"]

_COST = {"params": "parameters", "flops": "FLOPs (multiply-adds of one image)"}


def write_csv(lines: Iterable[dict[str, Any]]) -> str:
    """A CSV file with the columns that any of the lines has, in the order in which they come up.

    Floating-point numbers must be derived figures; see the module.
    """
    lines = list(lines)
    columns = dict.fromkeys(column for line in lines for column in line)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def runs_csv(boards: Sequence[Leaderboard], barren: Sequence[FailureRecord] = ()) -> str:
    """A line for each run, the failed ones with their reason, in the order of the tables.

    Args:
        boards: the tables.
        barren: failed runs of setups without a single result, which have no table.
    """
    lines = []
    for board in boards:
        lines += [_run(run) for row in board.rows for run in row.runs]
        lines += [_failed(failure) for failure in board.failures]
    return write_csv([*lines, *map(_failed, barren)])


def summary_csv(boards: Sequence[Leaderboard]) -> str:
    """A line for each row of each table: means, half 95 % intervals and how many seeds are behind them."""
    return write_csv(_row(board, place, row) for board in boards for place, row in enumerate(board.rows, start=1))


def widths_csv(boards: Sequence[Leaderboard]) -> str:
    """A line for each layer of each row: output channels before pruning and, mean over seeds, after."""
    return write_csv(
        {
            **_setup(row.runs[0].inputs),
            "criterion": row.criterion,
            "layer": layer,
            "output channels before": board.base_widths.get(layer, ""),
            "output channels after, mean": figures(width),
        }
        for board in boards
        for row in board.rows
        for layer, width in row.widths.items()
    )


def figures(value: float) -> str:
    """A derived number with twelve figures."""
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


def _entry(inputs: RunInputs) -> dict[str, Any]:
    entry = inputs.criterion
    return {
        "criterion": entry.title,
        "name": entry.name,
        "settings (JSON)": json.dumps(entry.settings, sort_keys=True),
        "compensation": entry.compensate or "",
        "rule t": entry.rule.neighbors if entry.rule else "",
        "rule s": entry.rule.threshold if entry.rule else "",
    }


def _run(record: RunRecord) -> dict[str, Any]:
    accuracy, best = record.accuracy, record.accuracy.best_epoch
    line = {
        **_setup(record.inputs),
        **_entry(record.inputs),
        "seed": record.inputs.seed,
        "status": "done",
        "reason": "",
        "accuracy base (fraction)": accuracy.base,
        "accuracy one-shot (fraction)": accuracy.one_shot,
        "accuracy BN moved (fraction)": accuracy.one_shot_bn,
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
        **_entry(failure.inputs),
        "seed": failure.inputs.seed,
        "status": "failed",
        "reason": failure.reason,
        "commit": failure.environment.git_commit,
        "created": failure.created.isoformat(),
    }


def _row(board: Leaderboard, place: int, row: Row) -> dict[str, Any]:
    line = {
        **_setup(row.runs[0].inputs),
        **_entry(row.runs[0].inputs),
        "place": "" if row.missing else place,
        "seeds": len(row.seeds),
        "seeds missing": len(row.missing),
    }
    line |= _told("accuracy base", "fraction", row.base)
    line |= _told("accuracy one-shot", "fraction", row.one_shot)
    line |= _told("accuracy BN moved", "fraction", row.one_shot_bn)
    line |= _told("accuracy fine-tuned", "fraction", row.fine_tuned)
    line |= _told("accuracy best epoch, chosen on test data", "fraction", row.best_epoch)
    line |= _told(f"accuracy difference to {board.setup.reference}", "fraction", row.difference)
    line |= _told("parameters", "", row.params)
    line |= _told("parameters removed", "fraction", row.params_reduction)
    line |= _told("FLOPs", "multiply-adds of one image", row.flops)
    line |= _told("FLOPs removed", "fraction", row.flops_reduction)
    line |= _told("channels kept", "", row.channels_kept)
    for timed in row.latency:
        line |= _told(f"latency before, batch {timed.batch_size}", "s", timed.before)
        line |= _told(f"latency after, batch {timed.batch_size}", "s", timed.after)
        line |= _told(f"speed-up, batch {timed.batch_size}", "ratio", timed.speedup)
    line |= _told("time to score", "s", row.seconds_to_score)
    return line | _told("peak memory to score", "bytes", row.peak_bytes_to_score)


def _told(name: str, unit: str, value: Estimate | None) -> dict[str, str]:
    """Nothing where the value is missing: then other rows give the column, or nobody."""
    if value is None:
        return {}
    behind = f" ({unit})" if unit else ""
    return {
        f"{name}, mean{behind}": figures(value.mean),
        f"{name}, half 95 % interval{behind}": "" if value.margin is None else figures(value.margin),
    }
