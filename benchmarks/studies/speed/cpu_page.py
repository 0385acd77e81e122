"""The page of the speed study: what was measured, the cost model, memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..common import provenance, table
from .cost_model import Machine

_COST = """\
A tensor of C channels and L positions that is read costs, for each image, C (C + 64) / 2 pairs of channels: L
multiply-adds each, and one square root, three additions, a division and a sum; and a fixed time for each tensor. So
time grows with C squared and with the number of images, and with L = H x W as long as L is more than about a hundred;
depth and groups add up. A group is read once for each different tensor that contains it, a residual stage of B blocks
up to B + 1 times. Channels of concatenated tensors are read again after every concatenation, as slices. Memory is
4 C (C + 64) bytes a group, whatever the number of images, and a block of a few MiB a thread."""
_MEMORY = """\
Highest resident memory, in MiB, each in a process of its own, one thread, 8 images a batch: the increase over
the interpreter with its libraries, Numba among them, the weights and the images. The share is of weights and as many
forward passes together. What grows from one batch to three in a bare forward pass too is the allocator's."""


def write_page(
    path: Path, machine: Machine, figures: Sequence[Any], costs: Sequence[Any], memory: Sequence[Any]
) -> None:
    """Write the page.

    Args:
        path: of the Markdown file.
        machine: the measured constants of the cost model.
        figures: what was measured, and the number.
        costs: network, predicted and measured seconds, MiB of the sums.
        memory: network, and MiB of weights, one and three batches of forward passes, and of calibrations.
    """
    threads = torch.get_num_threads()
    clock = "the processor's time of one thread" if threads == 1 else f"wall-clock, {threads} threads"
    predicted = [(name, f"{a:.3f}", f"{b:.3f}", f"{a / b:.2f}", f"{sums:.0f}") for name, a, b, sums in costs]
    shares = [max((c - a) / (w + a), (d - b) / (w + b)) for _, w, a, b, c, d in memory]
    peaks = [
        (name, *(f"{size:.0f}" for size in sizes), f"{share:.0%}")
        for (name, *sizes), share in zip(memory, shares, strict=True)
    ]
    heads = ("network", "weights", "forward, 1 batch", "3 batches", "calibration, 1 batch", "3 batches", "more, share")
    parts = [
        "# Speed and memory",
        "Ratios are medians over rounds in which the parts ran interleaved. A forward pass is the bare model on the "
        "same images, without gradients; a whole calibration is tracing, forward pass and criterion, all groups, "
        f"all consumers. HRank and the literal loop ran once. Times are {clock}.",
        table(("what", "measured"), [(what, f"{value:.3g}") for what, value in figures]),
        "## A model of the cost",
        _COST,
        f"Measured beforehand: {machine.rate / 1e9:.0f}e9 multiply-adds in a second, {machine.pair * 1e9:.2f} ns a "
        f"pair, {machine.call * 1e6:.0f} us a tensor. Seconds on top of the forward pass:",
        table(("network", "predicted", "measured", "ratio", "sums, MiB"), predicted),
        "## Memory",
        _MEMORY,
        table(heads, peaks),
        provenance("python -m foad_plugins.benchmarks.studies.speed.cpu"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n")
