"""Widths that run as fast as asked for on the device at hand, found by timing networks of such widths."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from ...calibration.preserve import preserve_state
from ...cost.latency import measure_latency
from ...report.data import LatencyTrial
from ..torch_pruning.graph import build_graph, prunable_groups
from ..torch_pruning.groups import group_name, num_channel_groups
from .arguments import Goal
from .cost_model import Costs
from .model_size import Size
from .search import Candidate, Step, TargetError, after, sequence

if TYPE_CHECKING:
    from .planner import Planner
    from .settings import Settings

__all__ = ["search_latency"]

_MULTIPLES = (1, 8, 16, 32)
"""Widths that vector units and matrix units like, tried beside all widths."""
_HALVINGS = 5
_NOISE = 0.05


def search_latency(
    planner: Planner,
    model: nn.Module,
    candidates: Sequence[Candidate],
    settings: Settings,
    goal: Goal,
    size: Size,
) -> tuple[list[int], tuple[LatencyTrial, ...], tuple[str, ...]]:
    """The largest network, by FLOPs, that was measured to be as fast as the goal.

    For each multiple that widths may be held to, the shortest sequence of removals that is fast enough is bracketed by
    halving, each time by timing a copy of the network at those widths.

    Raises:
        TargetError: no network is fast enough; with the fastest.
    """
    costs = Costs([candidate.group for candidate in candidates], size.table, counted=size.counted)
    trials: list[LatencyTrial] = []
    fitting: list[tuple[float, list[int]]] = []
    for multiple in _MULTIPLES:
        unit = multiple * planner.round_to
        start, steps = sequence(candidates, planner.ranking, planner.limits(candidates, unit))
        if multiple > 1 and len(steps) < 2 * len(candidates):
            # Layers this narrow have no choice of such widths.
            continue

        def attempt(length: int, start: list[int] = start, steps: list[Step] = steps, unit: int = unit) -> bool:
            counts = after(start, steps[:length])
            latency = _relative_latency(planner, model, candidates, settings, counts)
            cost = costs.at(counts)
            share = cost.params / planner.base.table.params
            if cost.flops is not None and planner.base.flops:
                share = cost.flops / planner.base.flops
            trials.append(LatencyTrial(unit, share, latency))
            if latency <= goal.value:
                fitting.append((share, counts))
            return latency <= goal.value

        if not attempt(len(steps)):
            continue
        low, high = 0, len(steps)
        for _ in range(_HALVINGS):
            middle = (low + high) // 2
            if middle == low:
                break
            if attempt(middle):
                high = middle
            else:
                low = middle
    if not fitting:
        least = min((trial.latency for trial in trials), default=1.0)
        raise TargetError(
            f"latency={goal.value:g} cannot be met: the fastest network measured takes {least:.1%} of the original's "
            "time on these inputs and this device"
        )
    counts = max(fitting, key=lambda fit: fit[0])[1]
    return counts, tuple(trials), _slower(trials)


def _relative_latency(
    planner: Planner, model: nn.Module, candidates: Sequence[Candidate], settings: Settings, counts: Sequence[int]
) -> float:
    """Time of a copy at other widths, as a share of the original's, the original measured once."""
    forward_fn = settings.options.forward_fn
    with preserve_state(model):
        narrow = copy.deepcopy(model)
    with preserve_state(narrow):
        graph = build_graph(narrow, planner.sample, forward_fn)
    wanted = {candidate.name: count for candidate, count in zip(candidates, counts, strict=True)}
    for group in prunable_groups(graph, []):
        count = wanted.get(group_name(group), 0)
        if count:
            # Widths decide how long it takes, so any channels will do.
            parts, root = num_channel_groups(group), group[0].dep
            size = len(group[0].idxs) // parts
            channels = [part * size + channel for part in range(parts) for channel in range(count)]
            graph.get_pruning_group(root.target.module, root.handler, channels).prune()
    before = planner.original_latency(model, forward_fn)
    return measure_latency(narrow, planner.batch, forward_fn=forward_fn) / before


def _slower(trials: Sequence[LatencyTrial]) -> tuple[str, ...]:
    """Says where fewer FLOPs took longer."""
    for fewer in sorted(trials, key=lambda trial: trial.flops):
        for more in trials:
            if fewer.flops < more.flops - _NOISE and fewer.latency > more.latency * (1 + _NOISE):
                return (
                    f"fewer FLOPs were slower: {fewer.flops:.0%} of the FLOPs in widths that are multiples of "
                    f"{fewer.round_to} took {fewer.latency:.0%} of the original's time, {more.flops:.0%} in multiples "
                    f"of {more.round_to} took {more.latency:.0%}",
                )
    return ()
