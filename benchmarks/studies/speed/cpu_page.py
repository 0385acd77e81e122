"""The page of the speed study: goals and what was measured, the cost model, memory."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from tabulate import tabulate

from .cost_model import Machine

__all__ = ["Page"]

_COMMAND = "python -m foad_plugins.benchmarks.studies.speed.cpu"
_COST = """\
A tensor of C channels and L positions that is read costs, for each image, C (C + 64) / 2 pairs of channels: L
multiply-adds each, and one square root, three additions, a division and a sum; and something to take it up at all. So
time grows with C squared and with the number of images, and with L = H x W as long as L is more than about a hundred;
depth and groups add up. A group is read once for each different tensor that carries it, a residual stage of B blocks
up to B + 1 times. Channels of concatenated tensors are read again behind every concatenation, as slices. Memory is
4 C (C + 64) bytes a group, whatever the number of images, and a block of a few MiB a thread."""
_MEMORY = """\
Resident memory at its highest, in MiB, each in a process of its own, one thread, 8 images a batch: what came on top of
the interpreter with its libraries, Numba among them, the weights and the images. The share is of weights and as many
forward passes together; goal: at most 25 %. What grows from one batch to three in a bare forward pass too is the
allocator's."""


class Page:
    """Gathers rows, prints each as it comes, and writes them as tables.

    Args:
        threads: of torch, for the text.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._goals: list[Sequence[str]] = []
        self._costs: list[Sequence[str]] = []
        self._memory: list[Sequence[str]] = []

    def goal(self, what: str, value: float, *, most: float | None = None, least: float | None = None) -> None:
        """A figure that has a goal."""
        met = (most is None or value <= most) and (least is None or value >= least)
        bound = f"at most {most:g}" if most is not None else f"at least {least:g}"
        self._put(self._goals, (what, f"{value:.3g}", bound, "yes" if met else "no"))

    def note(self, what: str, value: float) -> None:
        """A figure that has none."""
        self._put(self._goals, (what, f"{value:.3g}", "", ""))

    def cost(self, what: str, predicted: float, measured: float, sums: float) -> None:
        """Seconds of reading by the model and in fact, and MiB of the sums."""
        row = (what, f"{predicted:.3f}", f"{measured:.3f}", f"{predicted / measured:.2f}", f"{sums:.0f}")
        self._put(self._costs, row)

    def memory(self, name: str, weights: float, bare: Sequence[float], read: Sequence[float]) -> None:
        """MiB of bare forward passes over one batch and over three, and of calibrations on as many."""
        share = max((more - less) / (weights + less) for less, more in zip(bare, read, strict=True))
        self._put(self._memory, (name, *(f"{size:.0f}" for size in (weights, *bare, *read)), f"{share:.0%}"))

    def write(self, path: Path, machine: Machine) -> None:
        """Write the page."""
        figures = f"{machine.rate / 1e9:.0f}e9 multiply-adds in a second, {machine.pair * 1e9:.2f} ns a pair, "
        figures += f"{machine.call * 1e6:.0f} us a tensor"
        parts = [
            "# Speed and memory",
            "Ratios are medians over rounds in which the parts ran by turns. A forward pass is the bare model on the "
            "same images, without gradients; a whole calibration is tracing, forward pass and criterion, all groups, "
            f"all readers. HRank and the literal loop ran once. Times are {self._clock}.",
            _table(("what", "measured", "goal", "met"), self._goals),
            "## A model of the cost",
            _COST,
            f"Measured beforehand: {figures}. Seconds on top of the forward pass:",
            _table(("network", "predicted", "measured", "ratio", "sums, MiB"), self._costs),
            "## Memory",
            _MEMORY,
            _table(
                (
                    "network",
                    "weights",
                    "forward, 1 batch",
                    "3 batches",
                    "calibration, 1 batch",
                    "3 batches",
                    "more, share",
                ),
                self._memory,
            ),
            f"Written by `{_COMMAND}` with torch {torch.__version__}, torch-pruning {version('torch-pruning')}, "
            f"{self._threads} threads, {platform.machine()}.",
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(parts) + "\n")

    @property
    def _clock(self) -> str:
        return "the processor's time of one thread" if self._threads == 1 else f"wall-clock, {self._threads} threads"

    @staticmethod
    def _put(rows: list[Sequence[str]], row: Sequence[str]) -> None:
        rows.append(row)
        print(*row, sep=" | ", flush=True)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)
