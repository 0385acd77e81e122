"""Time and memory: of calls of two networks by turns, and of a piece of work."""

from __future__ import annotations

import ctypes
import gc
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import torch
from torch import nn
from torch.utils.benchmark import Timer

from ..quiet import undisturbed
from .records import Latency

__all__ = ["PeakMemory", "latencies"]

_SECONDS = 0.2
_ROUNDS = 5
_INTERVAL = 0.002


def latencies(
    before: nn.Module, after: nn.Module, example: torch.Tensor, batch_sizes: tuple[int, ...]
) -> list[Latency]:
    """Median time of a call of two networks, measured by turns so that a machine's moods meet both alike.

    Args:
        before: left as it is, as is ``after``.
        after: on the same device.
        example: one image (1, C, H, W), repeated to the size of a batch.
        batch_sizes: images in a call.
    """
    found = []
    for size in batch_sizes:
        images = example.expand(size, *example.shape[1:]).contiguous()
        timers = [
            Timer("model(images)", globals={"model": model, "images": images}, num_threads=torch.get_num_threads())
            for model in (before, after)
        ]
        medians: list[list[float]] = [[], []]
        with undisturbed(before), undisturbed(after), torch.inference_mode():
            for timer in timers:
                timer.timeit(1)
            for _ in range(_ROUNDS):
                for timer, times in zip(timers, medians, strict=True):
                    times.append(timer.blocked_autorange(min_run_time=_SECONDS / _ROUNDS).median)
        first, second = (statistics.median(times) for times in medians)
        found.append(Latency(batch_size=size, threads=torch.get_num_threads(), before=first, after=second))
    return found


class PeakMemory:
    """The most memory that was in use inside ``watching`` blocks beyond what was in use when each began.

    On a GPU it is what torch had allocated there; on a CPU the resident memory of the process, looked at every two
    milliseconds. Memory that is free but was not given back to the system would hide there, so it is given back first,
    which only the GNU C library can do; elsewhere the figure is too low.

    Args:
        device: where the work is done.

    Attributes:
        peak: in bytes, 0 before the first block.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._swept = False
        self.peak = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at the memory while the block runs."""
        if self._device.type == "cuda":
            start = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            yield
            self.peak = max(self.peak, torch.cuda.max_memory_allocated(self._device) - start)
            return
        if not self._swept:
            # Once: a full collection can take longer than the scoring of a layer.
            gc.collect()
            self._swept = True
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        process, over = psutil.Process(), threading.Event()
        start = process.memory_info().rss

        def look() -> None:
            while not over.wait(_INTERVAL):
                self.peak = max(self.peak, process.memory_info().rss - start)

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            self.peak = max(self.peak, process.memory_info().rss - start)
