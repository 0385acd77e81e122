"""Time and memory: of calls of two networks, interleaved, and of a piece of work."""

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

from ...calibration.preserve import preserve_state
from ...cost.latency import timer
from ..records.schema import Latency

_ROUNDS = 5
_TRIALS = 3
_SECONDS = 0.02
_INTERVAL = 0.002


def latencies(
    before: nn.Module, after: nn.Module, example: torch.Tensor, batch_sizes: tuple[int, ...]
) -> list[Latency]:
    """Median time of a call of two networks, interleaved so that a drift of the machine affects both.

    Each of five rounds times a block of calls of either network, at least 0.02 s of them where calls are short.

    Args:
        before: unchanged, as is ``after``.
        after: on the same device.
        example: one image (1, C, H, W), repeated to the size of a batch.
        batch_sizes: images in a call.
    """
    found = []
    for size in batch_sizes:
        images = example.expand(size, *example.shape[1:]).contiguous()
        with preserve_state(before), preserve_state(after), torch.inference_mode():
            for model in (before, after):
                model(images)
            # The quickest of a few calls, as one that something came between would make the blocks too short.
            calls = [min(_seconds(model, images, 1) for _ in range(_TRIALS)) for model in (before, after)]
            counts = [max(1, round(_SECONDS / call)) for call in calls]
            rounds = [
                [_seconds(model, images, count) for model, count in zip((before, after), counts, strict=True)]
                for _ in range(_ROUNDS)
            ]
        first, second = (statistics.median(times) for times in zip(*rounds, strict=True))
        found.append(Latency(batch_size=size, threads=torch.get_num_threads(), before=first, after=second))
    return found


def _seconds(model: nn.Module, images: torch.Tensor, calls: int) -> float:
    """Mean of ``calls`` calls in a row; this clock waits for the device."""
    start = timer()
    for _ in range(calls):
        model(images)
    return (timer() - start) / calls


class PeakMemory:
    """The most memory that was in use inside ``watching`` blocks beyond what was in use when each began.

    On a GPU it is what torch had allocated there; on a CPU the resident memory of the process, sampled every two
    milliseconds. Memory that is free but was not given back to the system would hide there, so it is given back first,
    which only the GNU C library can do; elsewhere the figure is too low. Python's garbage is collected before the first
    block alone, as that takes longer than many a criterion.

    Args:
        device: where the work is done.

    Attributes:
        peak: in bytes, 0 before the first block.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._collected = False
        self.peak = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Measure the memory while the block runs."""
        if not self._collected:
            gc.collect()
            self._collected = True
        with self._on_gpu() if self._device.type == "cuda" else self._on_cpu():
            yield

    @contextmanager
    def _on_gpu(self) -> Iterator[None]:
        start = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        try:
            yield
        finally:
            self.peak = max(self.peak, torch.cuda.max_memory_allocated(self._device) - start)

    @contextmanager
    def _on_cpu(self) -> Iterator[None]:
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        process, over = psutil.Process(), threading.Event()
        start = process.memory_info().rss

        def sample() -> None:
            while not over.wait(_INTERVAL):
                self.peak = max(self.peak, process.memory_info().rss - start)

        watcher = threading.Thread(target=sample, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            self.peak = max(self.peak, process.memory_info().rss - start)
