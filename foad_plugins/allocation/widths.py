"""Widths from curves of loss: lower convex hulls walked by loss for each unit of cost, to one budget or to two."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

__all__ = [
    "TOLERANCE",
    "Budget",
    "Step",
    "allocate",
    "budget_excess",
    "budget_order",
    "counts_after",
    "lower_hull",
    "meet_budgets",
    "removal_order",
]

Counts = Sequence[int]
CostFunction = Callable[[Counts], float]

_STEPS = 48
"""Removals of one group while the weights of two budgets are searched for."""
_HALVINGS = 20
TOLERANCE = 0.005
"""How far from its budget a cost may end, as a share of the original's."""


class Step(NamedTuple):
    """The next channels that a group loses: the group's number, and how many."""

    group: int
    size: int


@dataclass(frozen=True)
class Budget:
    """A limit on one cost.

    Attributes:
        name: the argument and its value, for messages.
        unit: what the cost counts, for messages.
        cost: the cost with some channels removed from each group, as a share of the original's; it never rises with
            them.
        share: what may be left of it.
    """

    name: str
    unit: str
    cost: CostFunction
    share: float


def lower_hull(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the points on the lower convex hull of some points.

    Args:
        points: (x, y) with x strictly increasing.

    Returns:
        Places in ``points``, ascending; the first and the last are always among them.

    Example:
        >>> lower_hull([(0, 0.0), (1, 2.0), (2, 1.0), (3, 4.0)])
        [0, 2, 3]
    """
    hull: list[int] = []
    for place, (x, y) in enumerate(points):
        while len(hull) > 1:
            (x0, y0), (x1, y1) = points[hull[-2]], points[hull[-1]]
            if (y1 - y0) * (x - x1) < (y - y1) * (x1 - x0):
                break
            hull.pop()
        hull.append(place)
    return hull


def removal_order(
    losses: Sequence[Callable[[int], float]], allowed: Sequence[Counts], start: Counts, cost: CostFunction
) -> list[Step]:
    """All removals that are allowed, in the order of the loss that each unit of saved cost takes.

    Each group's loss is replaced by its lower convex hull, so that an expensive channel does not block the cheap ones
    after it. A removal is priced at the widths which the removals before it have left: the FLOPs of a layer depend on
    the channels before and after it. A removal saves less the narrower its neighbors are, so each price is computed
    again only when its removal is next.

    Args:
        losses: for each group, the loss with a number of its channels removed.
        allowed: for each group, the numbers of removed channels that may be reached, ascending.
        start: how many channels each group loses in any case.
        cost: of the network with some channels removed from each group; never rises with them.

    Returns:
        The removals beyond ``start``.
    """
    slopes = [_slopes(loss, counts, begin) for loss, counts, begin in zip(losses, allowed, start, strict=True)]
    current, done = list(start), [0] * len(start)
    now = cost(current)
    queue: list[tuple[tuple[float, float], int]] = []

    def price(group: int) -> tuple[float, float]:
        size, slope = slopes[group][done[group]]
        current[group] += size
        saved = now - cost(current)
        current[group] -= size
        loss = slope * size
        if saved > 0:
            return loss / saved, -saved
        return (math.inf if loss > 0 else 0.0), 0.0

    for group, steps in enumerate(slopes):
        if steps:
            heapq.heappush(queue, (price(group), group))
    removals: list[Step] = []
    while queue:
        stale, group = heapq.heappop(queue)
        fresh = price(group)
        if fresh > stale and queue and (fresh, group) > queue[0]:
            heapq.heappush(queue, (fresh, group))
            continue
        size = slopes[group][done[group]][0]
        removals.append(Step(group, size))
        current[group] += size
        done[group] += 1
        now = cost(current)
        if done[group] < len(slopes[group]):
            heapq.heappush(queue, (price(group), group))
    return removals


def counts_after(start: Counts, removals: Sequence[Step]) -> list[int]:
    """How many channels each group has lost after some removals."""
    counts = list(start)
    for group, size in removals:
        counts[group] += size
    return counts


def meet_budgets(start: Counts, removals: Sequence[Step], excess: CostFunction, tolerance: float) -> list[int]:
    """How many channels each group loses so that an excess falls to 0.

    Args:
        start: channels that are removed in any case.
        removals: those beyond, in order.
        excess: how far the cost is above its budget; never rises with removals.
        tolerance: how far below 0 it may end, where widths allow.

    Returns:
        The counts of the fewest removals that reach 0. Where the last of these overshoots by more than the tolerance,
        smaller removals from further down the order are taken instead, or it is left out, whichever ends nearer. All
        removals if they do not reach 0.
    """
    low, high = 0, len(removals)
    if excess(counts_after(start, removals)) > 0:
        return counts_after(start, removals)
    while low < high:
        middle = (low + high) // 2
        if excess(counts_after(start, removals[:middle])) <= 0:
            high = middle
        else:
            low = middle + 1
    reached = counts_after(start, removals[:low])
    if low == 0 or excess(reached) >= -tolerance:
        return reached
    filled = counts_after(start, removals[: low - 1])
    nearest = min(((abs(excess(counts)), counts) for counts in (reached, filled)), key=itemgetter(0))
    blocked: set[int] = set()
    for group, size in removals[low - 1 :]:
        if group in blocked:
            continue
        tried = list(filled)
        tried[group] += size
        left = excess(tried)
        nearest = min(nearest, (abs(left), tried), key=itemgetter(0))
        if left < -tolerance:
            blocked.add(group)
            continue
        filled = tried
        if left <= 0:
            break
    return nearest[1]


def budget_excess(budgets: Sequence[Budget], counts: Counts) -> float:
    """How far the cost is above the budget that is furthest from being met, as a share of the original's cost."""
    return max(budget.cost(counts) - budget.share for budget in budgets)


def budget_order(
    losses: Sequence[Callable[[int], float]],
    allowed: Sequence[Counts],
    start: Counts,
    budgets: Sequence[Budget],
    tolerance: float = TOLERANCE,
) -> list[Step]:
    """All removals that are allowed, in the order of the loss that each unit of the budgets' cost takes.

    With two budgets the loss is weighed against a mixture of both costs. The mixture is found by halving: the cost
    that is met last counts for more. Where meeting one budget meets the other as well, the first alone counts.

    Args:
        losses: for each group, the loss with a number of its channels removed.
        allowed: for each group, the numbers of removed channels that may be reached, ascending.
        start: how many channels each group loses in any case.
        budgets: one or two.
        tolerance: how far the two costs may be from their budgets, as shares of the original's.

    Returns:
        The removals beyond ``start``.

    Raises:
        ValueError: no budget, or more than two.
    """
    if not 1 <= len(budgets) <= 2:
        raise ValueError(f"give one budget or two, got {len(budgets)}")

    def order(counts: Sequence[Counts], weight: float) -> list[Step]:
        first, last = budgets[0].cost, budgets[-1].cost
        if weight in (0.0, 1.0):
            return removal_order(losses, counts, start, last if weight else first)
        return removal_order(losses, counts, start, lambda c: (1 - weight) * first(c) + weight * last(c))

    if len(budgets) == 1:
        return order(allowed, 0.0)
    coarse = [_thinned(counts, _STEPS) for counts in allowed]

    def left(weight: float) -> tuple[float, float]:
        """How far both costs are above their budgets when the one that is further away is met."""
        found = meet_budgets(start, order(coarse, weight), lambda c: budget_excess(budgets, c), tolerance)
        first, last = (budget.cost(found) - budget.share for budget in budgets)
        return first, last

    low, high = 0.0, 1.0
    for weight in (0.0, 1.0):
        first, last = left(weight)
        if (last > first) == bool(weight):
            return order(allowed, weight)
    for _ in range(_HALVINGS):
        weight = (low + high) / 2
        first, last = left(weight)
        if min(first, last) >= -tolerance:
            break
        low, high = (weight, high) if last > first else (low, weight)
    return order(allowed, weight)


def allocate(
    losses: Sequence[Callable[[int], float]],
    allowed: Sequence[Counts],
    start: Counts,
    budgets: Sequence[Budget],
    tolerance: float = TOLERANCE,
) -> list[int]:
    """How many channels each group loses so that all budgets are met at the least loss.

    Args:
        losses: for each group, the loss with a number of its channels removed.
        allowed: for each group, the numbers of removed channels that may be reached, ascending.
        start: how many channels each group loses in any case.
        budgets: one or two, see :func:`budget_order`.
        tolerance: how far below a budget the result may end, as a share of the original's cost, where widths allow.

    Returns:
        The counts. All removals that are allowed, where those do not meet the budgets.

    Raises:
        ValueError: no budget, or more than two.
    """
    removals = budget_order(losses, allowed, start, budgets, tolerance)
    return meet_budgets(start, removals, lambda counts: budget_excess(budgets, counts), tolerance)


def _slopes(loss: Callable[[int], float], allowed: Counts, start: int) -> list[tuple[int, float]]:
    """The removals of one group, and the rise of its hull for each channel of them."""
    counts = [start, *(count for count in allowed if count > start)]
    values = [loss(count) for count in counts]
    hull = lower_hull(list(zip(map(float, counts), values, strict=True)))
    steps = []
    for first, last in itertools.pairwise(hull):
        slope = (values[last] - values[first]) / (counts[last] - counts[first])
        steps += [(counts[place] - counts[place - 1], slope) for place in range(first + 1, last + 1)]
    return steps


def _thinned(counts: Counts, most: int) -> Counts:
    if len(counts) <= most:
        return counts
    places = {round(number * (len(counts) - 1) / (most - 1)) for number in range(most)}
    return [counts[place] for place in sorted(places)]
