"""The page of the CPU speed study, from its record: parts of a calibration, and the model of its cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common import table

_COMMAND = "python -m foad_plugins.benchmarks.studies.speed.cpu"
_NOTES = """\
Medians over rounds in which the parts ran interleaved, so that other load affects all of them. Where no unit is given,
the unit is one forward pass: the bare model on the same images, without gradients. A whole calibration is tracing,
forward pass and criterion, all groups, all consumers. It runs a large batch in parts whose maps fit into the caches, so
that hooks alone may take less than a forward pass. Numba's loops are imported for larger calibrations only;
`FOAD_NUMBA=1` uses them always."""
_COST = """\
A tensor of C channels and L positions that is read costs, for each image, C (C + 64) / 2 pairs of channels: L
multiply-adds each, and one square root, three additions, a division and a sum; and a fixed time for each tensor. So
time grows with C squared and with the number of images, and with L = H x W as long as L is more than about a hundred;
depth and groups add up. A group is read once for each different tensor that contains it, a residual stage of B blocks
up to B + 1 times. Channels of concatenated tensors are read again after every concatenation, as slices. Memory is
4 C (C + 64) bytes a group, whatever the number of images, and a block of a few MiB a thread."""


def write_page(record: Mapping[str, Any], path: Path) -> None:
    """Render a record of the study as Markdown."""
    threads, (rate, pair, call) = record["threads"], record["constants"]
    clock = "the processor's time of one thread" if threads == 1 else f"wall-clock, {threads} threads"
    parts = {name: {what: (value, unit) for what, value, unit in rows} for name, rows in record["parts"].items()}
    whats = [what for what in next(iter(parts.values())) if not what.startswith("forward pass")]
    milliseconds = [next(iter(rows.values())) for rows in parts.values()]
    rows = [("forward pass", *(f"{value:.0f} ms" for value, _ in milliseconds))]
    rows += [(what, *(f"{one[what][0]:.3g}" for one in parts.values())) for what in whats]
    predicted = [(name, f"{a:.3f}", f"{b:.3f}", f"{a / b:.2f}", f"{sums:.0f}") for name, a, b, sums in record["costs"]]
    commit = f", commit {record['commit'][:12]}" if record["commit"] else ""
    texts = [
        "# Speed on a CPU",
        f"{_NOTES} Times are {clock}.",
        table(("what", *parts), rows),
        "## Beside other criteria",
        "HRank and the literal loop ran once.",
        table(("what", "measured"), [(what, f"{value:.3g}") for what, value in record["others"]]),
        "## A model of the cost",
        _COST,
        f"Measured beforehand: {rate / 1e9:.0f}e9 multiply-adds in a second, {pair * 1e9:.2f} ns a pair, "
        f"{call * 1e6:.0f} us a tensor. Seconds on top of the forward pass:",
        table(("network", "predicted", "measured", "ratio", "sums, MiB"), predicted),
        f"Written by `{_COMMAND}` with torch {record['torch']}, torch-pruning {record['torch-pruning']}, "
        f"{threads} threads, {record['machine']}{commit}.",
    ]
    path.write_text("\n\n".join(texts) + "\n")
