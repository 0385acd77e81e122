"""How long a call of a model takes."""

from __future__ import annotations

import torch
from torch import nn

from ..calibration.collect import ForwardFn
from ..calibration.data import Call
from ..calibration.preserve import preserve_state

__all__ = ["measure_latency"]


def measure_latency(
    model: nn.Module, call: Call, *, forward_fn: ForwardFn | None = None, min_seconds: float = 0.2
) -> float:
    """Median seconds of one call in eval mode without gradients, by ``torch.utils.benchmark``.

    The first calls are not counted, devices are waited for, and as many threads run as torch is set to.

    Args:
        model: the model, on the device to measure; left as it was.
        call: what to call it with.
        forward_fn: called as ``forward_fn(model, batch)`` instead of the model itself.
        min_seconds: calls are repeated for at least so long; more gives a steadier median.
    """
    # Imported here: it looks for a CUDA runtime, and says so where there is none.
    from torch.utils.benchmark import Timer

    with preserve_state(model, compiled=True), torch.inference_mode():
        timer = Timer(
            "forward_fn(model, call.batch)" if forward_fn is not None else "model(*call.args, **call.kwargs)",
            globals={"forward_fn": forward_fn, "model": model, "call": call},
            num_threads=torch.get_num_threads(),
        )
        return float(timer.blocked_autorange(min_run_time=min_seconds).median)
