"""What both speed studies time, and how."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn


def interleaved(
    parts: dict[str, Callable[[], object]], rounds: int, seconds: Callable[[Callable[[], object]], float]
) -> dict[str, list[float]]:
    """Seconds of each part, interleaved so that a slow moment affects all of them, after a first round as a warm-up.

    Args:
        parts: by name.
        rounds: how often each is timed; a single time is taken without a warm-up.
        seconds: runs a part and measures it.
    """
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds + (rounds > 1)):
        for name, part in parts.items():
            spent = seconds(part)
            if number or rounds == 1:
                times[name].append(spent)
    return times


def cpu_seconds(part: Callable[[], object]) -> float:
    """With one thread the processor's time of this process, which others on the machine disturb less."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    part()
    return clock() - start


def forward(model: nn.Module, batches: Sequence[Tensor]) -> None:
    """Forward passes without gradients."""
    with torch.no_grad():
        for batch in batches:
            model(batch)


def relu_maps(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The output of each ReLU, one call of each, copied."""
    maps: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda module, args, output: maps.append(output.clone()))
        for layer in model.modules()
        if isinstance(layer, nn.ReLU)
    ]
    forward(model, [images])
    for handle in handles:
        handle.remove()
    return maps


def shown(rows: Iterable[Sequence[object]]) -> Iterator[Sequence[object]]:
    """The same rows, each printed as soon as it is measured."""
    for row in rows:
        print(*row, sep=" | ", flush=True)
        yield row
