from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.runs import profiling as measuring
from foad_plugins.benchmarks.runs.profiling import PeakMemory, latencies


class Clock:
    """Stands still but for what networks take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measuring, "timer", clock)
    return clock


class Timed(nn.Module):
    """Takes a known time for every image; every seventh call takes ten times as long."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.clock = clock
        self.seconds = seconds
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.sizes.append(len(x))
        self.clock.now += self.seconds * len(x) * (1 if len(self.sizes) % 7 else 10)
        return self.norm(x)


def test_latency_of_both_networks_at_each_batch_size(clock: Clock) -> None:
    before, after = Timed(clock, 0.06).train(), Timed(clock, 0.02)
    first, second = latencies(before, after, torch.zeros(1, 1, 2, 2), (1, 3))
    assert (first.batch_size, second.batch_size) == (1, 3)
    assert first.threads == torch.get_num_threads() == 1
    assert (first.before, first.after) == pytest.approx((0.06, 0.02))
    assert (second.before, second.after) == pytest.approx((0.18, 0.06))
    assert before.training
    assert before.sizes == after.sizes == [1] * 9 + [3] * 9


def test_short_calls_are_timed_in_blocks_of_which_outliers_are_a_part(clock: Clock) -> None:
    short, long = Timed(clock, 0.0002), Timed(clock, 0.06)
    (found,) = latencies(short, long, torch.zeros(1, 1, 2, 2), (1,))
    # A warm-up, three for an estimate and five rounds.
    assert len(long.sizes) == 9
    assert len(short.sizes) == 4 + 5 * 100
    assert found.before == pytest.approx(0.0002 * (1 + 9 / 7), rel=0.05)


def test_no_batch_sizes_time_nothing(clock: Clock) -> None:
    model = Timed(clock, 1.0)
    assert latencies(model, model, torch.zeros(1, 1, 2, 2), ()) == []
    assert model.sizes == []


def test_peak_memory_is_what_was_in_use_beyond_the_start() -> None:
    memory = PeakMemory(torch.device("cpu"))
    before = torch.ones(10_000_000)
    with memory.watching():
        during = torch.ones(20_000_000)
        # The watcher must get its turn, also on a busy machine.
        time.sleep(0.1)
        del during
    assert 75_000_000 < memory.peak < 120_000_000
    peak = memory.peak
    with memory.watching():
        small = torch.ones(1_000_000)
    assert memory.peak == peak
    del before, small


def test_free_memory_that_was_not_returned_hides_nothing() -> None:
    memory = PeakMemory(torch.device("cpu"))
    pieces = [torch.ones(20_000) for _ in range(500)]
    del pieces
    with memory.watching():
        again = [torch.ones(20_000) for _ in range(500)]
    assert len(again) == 500
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
