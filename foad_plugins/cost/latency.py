"""Time of a call of a model."""

from __future__ import annotations

import logging
import time

import torch
from torch import nn

from ..calibration.data import Call, ForwardFn
from ..calibration.preserve import preserve_state

__all__ = ["measure_latency", "timer"]

MIN_SECONDS = 0.2


def timer() -> float:
    """Seconds on a clock, after the GPU has done what it was given.

    ``torch.utils.benchmark`` has the same, but its import looks for a CUDA compiler and warns of a missing runtime.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure_latency(
    model: nn.Module, call: Call, *, forward_fn: ForwardFn | None = None, min_seconds: float | None = None
) -> float:
    """Median seconds of one call in eval mode without gradients, by ``torch.utils.benchmark``.

    The first calls are not timed, devices are synchronized, and torch keeps its number of threads.

    Args:
        model: the model, on the device to measure; unchanged.
        call: its inputs.
        forward_fn: called as ``forward_fn(model, batch)`` instead of the model itself.
        min_seconds: calls are repeated for at least this time, 0.2 s if None; more gives a steadier median.
    """
    # The import warns if there is no CUDA runtime, which does not matter here.
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from torch.utils.benchmark import Timer
    finally:
        logger.setLevel(level)

    with preserve_state(model, compiled=True), torch.inference_mode():
        timer = Timer(
            "call.run(model, forward_fn)",
            globals={"forward_fn": forward_fn, "model": model, "call": call},
            num_threads=torch.get_num_threads(),
        )
        return float(timer.blocked_autorange(min_run_time=MIN_SECONDS if min_seconds is None else min_seconds).median)
