"""Accuracy right after pruning, by widths and compensation: one page from the records of the one-shot suites."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from ..records.schema import RunRecord
from ..report.data.estimates import estimate_all
from .common import compact_table, format_estimate, leaderboard_records

_SUITES = {
    "cifar10-resnet56-oneshot": "ResNet-56, CIFAR-10",
    "cifar10-vgg16-oneshot": "VGG-16, CIFAR-10",
    "lfw-mobilefacenet-oneshot": "MobileFaceNet, LFW",
}
NAMES = {
    "foad": "FOAD",
    "l1": "L1",
    "fpgm": "FPGM",
    "random": "random",
    "hrank": "HRank",
    "taylor": "Taylor",
    "chip": "CHIP",
}
# Ranking and compensation, from what Torch-Pruning's users do to all that this package does.
_COLUMNS = {
    ("local", None): "same share, BN adjusted",
    ("local", "least_squares"): "same share, least squares",
    ("local", "refit"): "same share, refit",
    ("sensitivity", "least_squares"): "sensitivity, least squares",
    ("sensitivity", "refit"): "sensitivity, refit",
}
_COMMAND = "python -m foad_plugins.benchmarks.studies.without_training"


def main() -> None:
    """Write docs/measurements/without_training.md from docs/leaderboards/*-oneshot/records."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--leaderboards", type=Path, default=Path("docs/leaderboards"))
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/without_training.md"))
    options = parser.parse_args()
    records = {suite: leaderboard_records(options.leaderboards, [suite]) for suite in _SUITES}
    records = {suite: found for suite, found in records.items() if found}
    options.out.write_text(page(records), encoding="utf-8")


def page(records: dict[str, list[RunRecord]]) -> str:
    """The page, with a table for each network and target.

    Args:
        records: finished runs by suite.
    """
    parts = [
        "# Without training",
        "Accuracy in % right after pruning, without any training, labels or gradients: mean over draws of calibration "
        "images, ± half a 95 % interval by Student's t where there are several. *Same share*: every coupled group "
        'loses the same share of its channels. *Sensitivity*: widths by `ranking="sensitivity"`. *Least squares* and '
        "*refit* are values of `compensate`; with least squares BN is adjusted as well. A blank cell was not measured.",
    ]
    for suite, found in records.items():
        by_target: dict[str, list[RunRecord]] = defaultdict(list)
        for record in found:
            by_target[str(record.inputs.setup.conditions.target)].append(record)
        parts.append(f"## {_SUITES[suite]}")
        base = fmean(record.accuracy.base for record in found)
        images = {record.inputs.setup.conditions.calibration_images for record in found}
        parts.append(
            f"Base model {100 * base:.2f} %; {', '.join(map(str, sorted(images)))} calibration images. "
            f"All runs are in [the leaderboard](../leaderboards/{suite}/leaderboard.md)."
        )
        for target in sorted(by_target):
            parts += [f"### {target}", table(by_target[target])]
    parts.append(f"Written by `{_COMMAND}` from the records of the leaderboards.")
    return "\n\n".join(parts) + "\n"


def table(records: list[RunRecord]) -> str:
    """Criteria by way of pruning, in Markdown."""
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        criterion = record.inputs.criterion
        column = _COLUMNS.get((record.inputs.setup.ranking, criterion.compensate))
        if column is not None:
            value = record.accuracy.one_shot_bn or record.accuracy.one_shot
            cells[NAMES.get(criterion.name, criterion.name), column].append(100 * value)
    columns = [column for column in _COLUMNS.values() if any(key[1] == column for key in cells)]
    rows = [
        [name, *(format_estimate(estimate_all(cells[name, column])) for column in columns)] for name in NAMES.values()
    ]
    rows = [row for row in rows if any(row[1:])]
    return compact_table(["criterion", *columns], rows)


if __name__ == "__main__":
    main()
