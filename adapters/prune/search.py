"""Which channels of which groups go: one sequence over all groups, cut where a target is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal, NamedTuple

from torch_pruning.dependency import Group

__all__ = ["RANKINGS", "Candidate", "Limits", "Ranking", "TargetError", "after", "cut_at_ratio", "search", "sequence"]

Ranking = Literal["local", "global", "isomorphic"]
RANKINGS = ("local", "global", "isomorphic")


class TargetError(ValueError):
    """A target that no allowed removal of channels meets."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A group that can lose channels.

    Attributes:
        group: over all channels of its root.
        name: of the root layer.
        parts: into how many equal parts the channels fall that lose the same relative indices.
        sequence: relative indices in the order in which they should go.
        scores: of the channels along ``sequence``, non-decreasing.
        width: how many relative indices there were before the first step of pruning.
    """

    group: Group
    name: str
    parts: int
    sequence: tuple[int, ...]
    scores: tuple[float, ...]
    width: int

    def kind(self) -> Hashable:
        """Equal for groups of the same structure, which isomorphic ranking lets compete (Fang et al., ECCV 2024)."""
        return tuple(
            (type(item.dep.target.module).__name__, getattr(item.dep.handler, "__name__", "")) for item in self.group
        )


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


class Step(NamedTuple):
    """The next channels of a group to go: the group's number, and how many."""

    group: int
    size: int


def sequence(candidates: Sequence[Candidate], ranking: Ranking, limits: Limits) -> tuple[list[int], list[Step]]:
    """All removals that are allowed, in the order in which they should happen.

    Local ranking takes the same share of every group at any time; global ranking goes by score; isomorphic ranking
    takes the same share of every kind of group, by score within a kind.

    Returns:
        How many channels go from each group in any case, and the steps beyond.
    """
    start = [0] * len(candidates)
    keyed: list[tuple[float, int, int, Step]] = []
    for number, candidate in enumerate(candidates):
        blocks = _blocks(candidate, limits.round_to, limits.most[number])
        if number in limits.fixed:
            least = _share(candidate.width, limits.fixed[number]) - _gone(candidate, 0) // candidate.parts
            start[number] = next((end for end in [0, *blocks] if end >= least), max(blocks, default=0))
            continue
        begin, score = 0, -math.inf
        for place, end in enumerate(blocks):
            # The mean over a block, never falling along a group: its own order holds whatever the ranking.
            score = max(score, sum(candidate.scores[begin:end]) / (end - begin))
            gone = candidate.width - len(candidate.sequence) + end
            key = gone / candidate.width if ranking == "local" else score
            keyed.append((key, number, place, Step(number, end - begin)))
            begin = end
    if ranking == "isomorphic":
        keyed = _by_share_of_kind(candidates, start, keyed)
    keyed.sort(key=lambda entry: entry[:3])
    return start, [entry[3] for entry in keyed]


def after(start: Sequence[int], steps: Sequence[Step]) -> list[int]:
    """How many channels are gone from each group after some steps."""
    counts = list(start)
    for step in steps:
        counts[step.group] += step.size
    return counts


def search(
    start: Sequence[int],
    steps: Sequence[Step],
    cost: Callable[[Sequence[int]], float],
    target: float,
    tolerance: float,
) -> list[int]:
    """How many channels go from each group so that a cost falls to a target.

    Args:
        start: channels that go in any case.
        steps: the removals beyond, in order.
        cost: of the network with so many channels removed from each group; it never rises with them.
        target: where the cost should end.
        tolerance: how far from it the cost may end, where widths do not allow it exactly.

    Returns:
        The counts of the fewest steps that reach the target. Where the last of these overshoots by more than the
        tolerance, smaller steps from further down the sequence are taken in its place, or it is left out, whichever
        ends nearer.

    Raises:
        TargetError: all steps together do not reach the target within the tolerance.
    """
    low, high = 0, len(steps)
    least = cost(after(start, steps))
    if least > target + tolerance:
        raise TargetError(f"{least:.6g}")
    if least > target:
        return after(start, steps)
    while low < high:
        middle = (low + high) // 2
        if cost(after(start, steps[:middle])) <= target:
            high = middle
        else:
            low = middle + 1
    reached = after(start, steps[:low])
    if low == 0 or cost(reached) >= target - tolerance:
        return reached
    filled = after(start, steps[: low - 1])
    nearest = min(((abs(cost(counts) - target), counts) for counts in (reached, filled)), key=itemgetter(0))
    blocked: set[int] = set()
    for step in steps[low - 1 :]:
        if step.group in blocked:
            continue
        tried = list(filled)
        tried[step.group] += step.size
        left = cost(tried)
        nearest = min(nearest, (abs(left - target), tried), key=itemgetter(0))
        if left < target - tolerance:
            blocked.add(step.group)
            continue
        filled = tried
        if left <= target:
            break
    return nearest[1]


def cut_at_ratio(
    candidates: Sequence[Candidate], start: Sequence[int], steps: Sequence[Step], ratio: float, ranking: Ranking
) -> list[int]:
    """How many channels go from each group when a share of all goes: of each group (local), kind of group, or together.

    Rounded up, as Torch-Pruning does.
    """
    pools: dict[Hashable, list[int]] = {}
    for number, candidate in enumerate(candidates):
        pool: Hashable = {"local": number, "global": 0}.get(ranking, candidate.kind())
        pools.setdefault(pool, []).append(number)
    counts = list(start)
    for members in pools.values():
        width = sum(candidates[number].width * candidates[number].parts for number in members)
        gone = sum(_gone(candidates[number], counts[number]) for number in members)
        goal = _share(width, ratio)
        for step in (step for step in steps if step.group in members):
            if gone >= goal:
                break
            counts[step.group] += step.size
            gone += step.size * candidates[step.group].parts
    return counts


def _share(width: int, ratio: float) -> int:
    """A share of some channels, rounded up as Torch-Pruning does, but for what is rounding in the ratio itself."""
    return width - math.floor(width * (1 - ratio) + 1e-9)


def _gone(candidate: Candidate, count: int) -> int:
    return (candidate.width - len(candidate.sequence) + count) * candidate.parts


def _blocks(candidate: Candidate, round_to: int, most: float) -> list[int]:
    """How many channels may be gone after each removal, ascending: all counts that leave an allowed width."""
    alive = len(candidate.sequence)
    unit = round_to // math.gcd(round_to, candidate.parts)
    left = range(alive - 1, 0, -1)
    fewest = candidate.width - math.floor(candidate.width * most + 1e-9)
    return [alive - width for width in left if width % unit == 0 and width >= fewest]


def _by_share_of_kind(
    candidates: Sequence[Candidate], start: Sequence[int], keyed: list[tuple[float, int, int, Step]]
) -> list[tuple[float, int, int, Step]]:
    """Scores replaced by the share of all channels of a kind that are gone by then."""
    kinds: dict[Hashable, list[tuple[float, int, int, Step]]] = {}
    for entry in keyed:
        kinds.setdefault(candidates[entry[1]].kind(), []).append(entry)
    shared = []
    for kind, entries in kinds.items():
        members = [number for number, candidate in enumerate(candidates) if candidate.kind() == kind]
        width = sum(candidates[number].width * candidates[number].parts for number in members)
        gone = sum(_gone(candidates[number], start[number]) for number in members)
        for _, number, place, step in sorted(entries, key=lambda entry: entry[:3]):
            gone += step.size * candidates[number].parts
            shared.append((gone / width, number, place, step))
    return shared
