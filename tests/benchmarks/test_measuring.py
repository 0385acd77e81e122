from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.measuring import PeakMemory, latencies


class Slow(nn.Module):
    """Takes a known time for every image, and only in eval mode without gradients."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.seconds = seconds
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.sizes.append(len(x))
        time.sleep(self.seconds * len(x))
        return self.norm(x)


def test_latency_of_both_networks_at_each_batch_size() -> None:
    before, after = Slow(0.006).train(), Slow(0.002)
    first, second = latencies(before, after, torch.zeros(1, 1, 2, 2), (1, 3))
    assert (first.batch_size, second.batch_size) == (1, 3)
    assert first.threads == torch.get_num_threads() == 1
    assert first.before >= 0.006
    assert second.before >= 0.018
    assert 0.002 <= first.after < first.before
    assert 0.006 <= second.after < second.before
    assert before.training
    assert before.sizes == sorted(before.sizes)
    assert set(before.sizes) == {1, 3}


def test_short_calls_are_timed_in_blocks_and_long_ones_alone() -> None:
    short, long = Slow(0.0), Slow(0.03)
    latencies(short, long, torch.zeros(1, 1, 2, 2), (1,))
    # A warm-up, an estimate and five rounds.
    assert len(long.sizes) == 7
    assert len(short.sizes) > 100


def test_no_batch_sizes_time_nothing() -> None:
    model = Slow(1.0)
    assert latencies(model, model, torch.zeros(1, 1, 2, 2), ()) == []
    assert model.sizes == []


def test_peak_memory_is_what_was_in_use_beyond_the_start() -> None:
    memory = PeakMemory(torch.device("cpu"))
    before = torch.ones(10_000_000)
    with memory.watching():
        during = torch.ones(20_000_000)
        del during
    assert 75_000_000 < memory.peak < 120_000_000
    peak = memory.peak
    with memory.watching():
        small = torch.ones(1_000_000)
    assert memory.peak == peak
    del before, small


def test_memory_that_is_free_but_was_not_given_back_hides_nothing() -> None:
    memory = PeakMemory(torch.device("cpu"))
    pieces = [torch.ones(20_000) for _ in range(500)]
    del pieces
    with memory.watching():
        pieces = [torch.ones(20_000) for _ in range(500)]
    assert memory.peak > 30_000_000


def test_the_watcher_ends_also_after_an_error() -> None:
    memory, threads = PeakMemory(torch.device("cpu")), threading.active_count()
    with pytest.raises(ZeroDivisionError), memory.watching():
        raise ZeroDivisionError
    assert threading.active_count() == threads


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_peak_memory_of_a_gpu_is_what_torch_allocated() -> None:
    memory = PeakMemory(torch.device("cuda"))
    with memory.watching():
        torch.ones(20_000_000, device="cuda")
    assert 79_000_000 < memory.peak < 90_000_000
