"""Widths that are as fast as the target on the device at hand, found by timing networks of such widths."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from ...calibration.data import Call, ForwardFn
from ...calibration.preserve import preserve_state
from ...report.data import LatencyTrial
from ..torch_pruning.graph import build_graph, prunable_groups
from .search import Schedule, TargetError, counts_after

__all__ = ["narrowed_copy", "search_latency"]

_MULTIPLES = (1, 8, 16, 32)
"""Widths that vector and matrix units compute fast."""
_HALVINGS = 5
_NOISE = 0.05


def search_latency(
    schedule_for: Callable[[int], Schedule],
    measure: Callable[[Sequence[int]], tuple[float, float]],
    target: float,
    round_to: int,
) -> tuple[list[int], tuple[LatencyTrial, ...], tuple[str, ...]]:
    """The largest network, by FLOPs, that was measured to be as fast as the target.

    For each multiple that widths may be rounded to, the shortest schedule that is fast enough is bracketed by halving,
    each time by timing a copy of the network at those widths.

    Args:
        schedule_for: gives the removals for widths that are multiples of a number.
        measure: gives FLOPs and latency after some counts of removals, both as shares of the original's.
        target: share of the original's latency.
        round_to: widths are multiples of this in any case.

    Returns:
        How many channels each group loses, the networks that were timed, and notes for the report.

    Raises:
        TargetError: no network is fast enough; with the fastest.
    """
    trials: list[LatencyTrial] = []
    fitting: list[tuple[float, list[int]]] = []
    for multiple in _MULTIPLES:
        unit = multiple * round_to
        start, steps = schedule_for(unit)
        if multiple > 1 and len(steps) < 2 * len(start):
            # Layers this narrow have no choice of such widths.
            continue

        def is_fast(length: int, schedule: Schedule = (start, steps), unit: int = unit) -> bool:
            counts = counts_after(schedule[0], schedule[1][:length])
            flops, latency = measure(counts)
            trials.append(LatencyTrial(unit, flops, latency))
            if latency <= target:
                fitting.append((flops, counts))
            return latency <= target

        if not is_fast(len(steps)):
            continue
        low, high = 0, len(steps)
        for _ in range(_HALVINGS):
            middle = (low + high) // 2
            if middle == low:
                break
            if is_fast(middle):
                high = middle
            else:
                low = middle
    if not fitting:
        least = min((trial.latency for trial in trials), default=1.0)
        raise TargetError(
            f"latency={target:g} cannot be met: the fastest network measured takes {least:.1%} of the original's "
            "time on these inputs and this device"
        )
    counts = max(fitting, key=lambda fit: fit[0])[1]
    return counts, tuple(trials), _slower(trials)


def narrowed_copy(
    model: nn.Module, example: Call, forward_fn: ForwardFn | None, counts: Mapping[str, int]
) -> nn.Module:
    """A copy with some number of channels removed from each channel group of some groups, by the groups' names.

    The width decides the latency, so any channels are removed.
    """
    with preserve_state(model):
        narrow = copy.deepcopy(model)
    with preserve_state(narrow):
        graph = build_graph(narrow, example, forward_fn)
    for group in prunable_groups(graph, []):
        count = counts.get(group.name, 0)
        if count:
            group.partial(group.root_indices(range(count))).prune()
    return narrow


def _slower(trials: Sequence[LatencyTrial]) -> tuple[str, ...]:
    """A note, if fewer FLOPs took longer."""
    for fewer in sorted(trials, key=lambda trial: trial.flops):
        for more in trials:
            if fewer.flops < more.flops - _NOISE and fewer.latency > more.latency * (1 + _NOISE):
                return (
                    f"fewer FLOPs were slower: {fewer.flops:.0%} of the FLOPs in widths that are multiples of "
                    f"{fewer.round_to} took {fewer.latency:.0%} of the original's time, {more.flops:.0%} in multiples "
                    f"of {more.round_to} took {more.latency:.0%}",
                )
    return ()
