"""How many channels each group loses: one schedule over all groups, cut where a target is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from torch import nn

from ...allocation.widths import Step, counts_after, meet_budgets
from ...criterion.nearest import NearestKept
from ...utils.rollback import Rollback, rollback_on_error
from ..torch_pruning.groups import CoupledGroup, structure

__all__ = [
    "RANKINGS",
    "Attempt",
    "Candidate",
    "Limits",
    "Ranking",
    "Schedule",
    "Step",
    "TargetError",
    "allowed_removals",
    "counts_after",
    "cut_at_ratio",
    "fixed_removal",
    "meet_target",
    "removal_schedule",
    "search",
]

Ranking = Literal["local", "global", "isomorphic", "sensitivity"]
RANKINGS = ("local", "global", "isomorphic", "sensitivity")

_ATTEMPTS = 6
_Plan = TypeVar("_Plan")
_Result = TypeVar("_Result")


class TargetError(ValueError):
    """A target that no allowed removal of channels meets.

    Attributes:
        kept_layers: convolutions and linear layers from which no channel may be removed, by name, each with the reason.
    """

    def __init__(self, message: str, kept_layers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.kept_layers = dict(kept_layers or {})


@dataclass(frozen=True, eq=False)
class Candidate:
    """A group that can lose channels.

    Attributes:
        group: the group.
        sequence: relative indices in the order of removal.
        scores: of the channels along ``sequence``, non-decreasing.
        width: how many relative indices there were before the first step of pruning.
        nearest: gives the selection for any number of removed channels.
    """

    group: CoupledGroup
    sequence: tuple[int, ...]
    scores: tuple[float, ...]
    width: int
    nearest: NearestKept

    def kind(self) -> Hashable:
        """Equal for groups of the same structure, which compete in isomorphic ranking."""
        return structure(self.group.group)


@dataclass(frozen=True)
class Limits:
    """What may be removed at most.

    Attributes:
        round_to: widths end at multiples of this.
        most: the share of its channels that a group may lose at most, by number of the group.
        fixed: the share that a group loses whatever the target, by number of the group.
    """

    round_to: int
    most: Sequence[float]
    fixed: Mapping[int, float]


class Attempt(NamedTuple):
    """How far the predicted and the measured cost are above the target, as shares of the original's cost."""

    predicted: float
    measured: float


Schedule = tuple[list[int], list[Step]]
"""How many channels each group loses in any case, and the steps beyond, in order."""


def meet_target(
    model: nn.Module,
    plan: Callable[[Sequence[Attempt]], _Plan],
    apply: Callable[[_Plan], _Result],
    correction: Callable[[_Plan, _Result, Sequence[Attempt]], Attempt | None],
) -> _Result:
    """Plan and apply until the target is met, at most six times; every attempt but the last one is undone.

    The cost model may miss something that shrinks as well, or does not: then a corrected target is planned for.

    Args:
        model: changed by ``apply``; unchanged after an exception.
        plan: makes a plan from the previous attempts.
        apply: carries a plan out.
        correction: the attempt to correct; None if the result is accepted.
    """
    previous: list[Attempt] = []
    while True:
        planned = plan(previous)
        with rollback_on_error(model):
            result = apply(planned)
            attempt = correction(planned, result, previous) if len(previous) + 1 < _ATTEMPTS else None
            if attempt is None:
                return result
            raise Rollback
        previous.append(attempt)


def removal_schedule(candidates: Sequence[Candidate], ranking: Ranking, limits: Limits) -> Schedule:
    """All removals that are allowed, in order.

    Local ranking takes the same share of every group at any time; global ranking takes the lowest scores of all groups;
    isomorphic ranking takes the same share of every kind of group, the lowest scores within a kind first.
    """
    start = [0] * len(candidates)
    keyed: list[tuple[float, int, int, Step]] = []
    for number, candidate in enumerate(candidates):
        removals = allowed_removals(candidate, limits.round_to, limits.most[number])
        removed = candidate.width - len(candidate.sequence)
        if number in limits.fixed:
            start[number] = fixed_removal(candidate, removals, limits.fixed[number])
            continue
        begin, score = 0, -math.inf
        for place, end in enumerate(removals):
            # The mean over a step, never falling along a group: its own order holds whatever the ranking.
            score = max(score, sum(candidate.scores[begin:end]) / (end - begin))
            key = (removed + end) / candidate.width if ranking == "local" else score
            keyed.append((key, number, place, Step(number, end - begin)))
            begin = end
    if ranking == "isomorphic":
        keyed = _by_share_of_kind(candidates, start, keyed)
    keyed.sort(key=lambda entry: entry[:3])
    return start, [entry[3] for entry in keyed]


def search(
    start: Sequence[int],
    steps: Sequence[Step],
    cost: Callable[[Sequence[int]], float],
    target: float,
    tolerance: float,
) -> list[int]:
    """How many channels to remove from each group so that a cost falls to a target.

    Args:
        start: channels that are removed in any case.
        steps: the removals beyond, in order.
        cost: of the network with so many channels removed from each group; it never rises with them.
        target: where the cost should end.
        tolerance: how far from it the cost may end, where widths do not allow it exactly.

    Returns:
        The counts of the fewest steps that reach the target. Where the last of these overshoots by more than the
        tolerance, smaller steps from later in the schedule are taken instead, or it is left out, whichever ends
        nearer.

    Raises:
        TargetError: all steps together do not reach the target within the tolerance.
    """
    least = cost(counts_after(start, steps))
    if least > target + tolerance:
        raise TargetError(f"{least:.6g}")
    return meet_budgets(start, steps, lambda counts: cost(counts) - target, tolerance)


def cut_at_ratio(candidates: Sequence[Candidate], schedule: Schedule, ratio: float, ranking: Ranking) -> list[int]:
    """How many channels to remove from each group for a share of each group (local), of each kind, or of all groups.

    Rounded up, as Torch-Pruning does.
    """
    pools: dict[Hashable, list[int]] = {}
    for number, candidate in enumerate(candidates):
        pool: Hashable = {"local": number, "global": 0, "sensitivity": 0}.get(ranking, candidate.kind())
        pools.setdefault(pool, []).append(number)
    start, steps = schedule
    counts = list(start)
    for members in pools.values():
        width, removed = _pool(candidates, members, counts)
        wanted = _share(width, ratio)
        for step in (step for step in steps if step.group in members):
            if removed >= wanted:
                break
            counts[step.group] += step.size
            removed += step.size * candidates[step.group].group.channel_groups
    return counts


def _share(width: int, ratio: float) -> int:
    """A share of some channels, rounded up as Torch-Pruning does, except for rounding errors in the ratio itself."""
    return width - math.floor(width * (1 - ratio) + 1e-9)


def _num_removed(candidate: Candidate, count: int) -> int:
    return (candidate.width - len(candidate.sequence) + count) * candidate.group.channel_groups


def _pool(candidates: Sequence[Candidate], members: Sequence[int], counts: Sequence[int]) -> tuple[int, int]:
    """Channels of some groups before the first step of pruning, and how many of them are removed."""
    width = sum(candidates[number].width * candidates[number].group.channel_groups for number in members)
    return width, sum(_num_removed(candidates[number], counts[number]) for number in members)


def allowed_removals(candidate: Candidate, round_to: int, most: float) -> list[int]:
    """How many channels may be removed in all after each step, ascending: all counts that leave an allowed width."""
    alive = len(candidate.sequence)
    unit = round_to // math.gcd(round_to, candidate.group.channel_groups)
    fewest = candidate.width - math.floor(candidate.width * most + 1e-9)
    return [alive - width for width in range(alive - 1, 0, -1) if width % unit == 0 and width >= fewest]


def fixed_removal(candidate: Candidate, removals: Sequence[int], ratio: float) -> int:
    """The least of the allowed removals that takes a share of the channels, or the largest one."""
    least = _share(candidate.width, ratio) - (candidate.width - len(candidate.sequence))
    return next((end for end in [0, *removals] if end >= least), max(removals, default=0))


def _by_share_of_kind(
    candidates: Sequence[Candidate], start: Sequence[int], keyed: list[tuple[float, int, int, Step]]
) -> list[tuple[float, int, int, Step]]:
    """Scores replaced by the share of all channels of a kind that are removed by then."""
    kinds: dict[Hashable, list[tuple[float, int, int, Step]]] = {}
    for entry in keyed:
        kinds.setdefault(candidates[entry[1]].kind(), []).append(entry)
    shared = []
    for kind, entries in kinds.items():
        members = [number for number, candidate in enumerate(candidates) if candidate.kind() == kind]
        width, removed = _pool(candidates, members, start)
        for _, number, place, step in sorted(entries, key=lambda entry: entry[:3]):
            removed += step.size * candidates[number].group.channel_groups
            shared.append((removed / width, number, place, step))
    return shared
