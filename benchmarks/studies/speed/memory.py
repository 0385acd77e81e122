"""Memory of a calibration against passes over the data, for several limits."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision

from ...records.environment import git_commit
from ..common import table
from .peak_memory import peak_memory

_MIB = 2**20
_BATCHES, _SIZE = 2, 8
_LIMITS: dict[str, tuple[int | None, ...]] = {
    "resnet50": (None, 16),
    "densenet201": (None, 8),
    "convnext_base": (None, 128, 64),
}
"""MiB for the sums of similarities, by network; None for no limit."""
_NOTES = f"""\
Highest resident memory in MiB, each measurement in a process of its own with one thread, {_BATCHES} batches of {_SIZE}
images of 224x224, random weights: the increase over the interpreter with its libraries, the weights and the images. A
calibration is `FOADImportance(images, max_memory=...)` with the scores of all groups. The share on top is that of a
calibration beyond bare forward passes, of the weights and the forward passes together. The limit is for the sums of
similarities, half of all pairs of channels of a group in float64; one group is always in memory."""


def main() -> None:
    """Measure, write docs/measurements/memory.json, and render memory.md beside it; rows of other networks are kept."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--networks", nargs="*", choices=_LIMITS, default=list(_LIMITS))
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/memory.json"))
    options = parser.parse_args()
    commit = git_commit(Path(__file__))
    before = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    rows = [row for row in before if row["network"] not in options.networks]
    for name in options.networks:
        weights = sum(p.numel() * p.element_size() for p in torchvision.models.get_model(name).parameters())
        bare = peak_memory(name, _BATCHES, _SIZE, calibrate=False).bytes
        for limit in _LIMITS[name]:
            size = None if limit is None else limit * _MIB
            peak = peak_memory(name, _BATCHES, _SIZE, calibrate=True, max_memory=size)
            rows.append(
                {
                    "network": name,
                    "weights": weights / _MIB,
                    "forward": bare / _MIB,
                    "limit": limit,
                    "passes": peak.passes,
                    "calibration": peak.bytes / _MIB,
                    "torch": torch.__version__,
                    "commit": commit,
                }
            )
            print(rows[-1], flush=True)
    rows.sort(key=lambda row: list(_LIMITS).index(row["network"]))
    record = {"rows": rows}
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    write_page(record, options.out.with_suffix(".md"))


def write_page(record: Mapping[str, Any], path: Path) -> None:
    """Render a record of the study as Markdown."""
    rows = [
        (
            row["network"],
            f"{row['weights']:.0f}",
            f"{row['forward']:.0f}",
            "none" if row["limit"] is None else str(row["limit"]),
            str(row["passes"]),
            f"{row['calibration']:.0f}",
            f"{max(0.0, row['calibration'] - row['forward']) / (row['weights'] + row['forward']):.0%}",
        )
        for row in record["rows"]
    ]
    heads = ("network", "weights", "forward passes", "`max_memory`, MiB", "passes", "calibration", "on top")
    versions: dict[str, dict[str, None]] = {}
    for row in record["rows"]:
        commit = f", commit {row['commit'][:12]}" if row["commit"] else ""
        versions.setdefault(f"torch {row['torch']}{commit}", {})[row["network"]] = None
    made = "Written by `python -m foad_plugins.benchmarks.studies.speed.memory` with " + "; ".join(
        f"{version} ({', '.join(networks)})" for version, networks in versions.items()
    )
    path.write_text(f"# Memory against passes over the data\n\n{_NOTES}\n\n{table(heads, rows)}\n\n{made}.\n")


if __name__ == "__main__":
    main()
