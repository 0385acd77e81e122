from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foad_plugins.allocation import Budget, allocate, lower_hull, meet_budgets, removal_order
from foad_plugins.allocation.widths import Step, counts_after

WIDTHS = (8, 8, 8)


def flops(removed):
    """Share of the FLOPs of three layers in a row; each costs its inputs times its outputs."""
    left = [3, *(width - gone for width, gone in zip(WIDTHS, removed, strict=True))]
    return sum(a * b for a, b in itertools.pairwise(left)) / (3 * 8 + 2 * 64)


def params(removed):
    weights = (1, 1, 6)
    return sum((8 - gone) * weight for gone, weight in zip(removed, weights, strict=True)) / 64


def quadratic(factor):
    return lambda count: factor * (count / 8) ** 2


ALLOWED = [list(range(1, 8))] * 3


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=12))
def test_the_hull_is_convex_and_below_every_point(values):
    points = [(float(place), value) for place, value in enumerate(values)]
    hull = lower_hull(points)
    assert hull[0] == 0
    assert hull[-1] == len(points) - 1
    slopes = [(values[b] - values[a]) / (b - a) for a, b in itertools.pairwise(hull)]
    assert all(first < second for first, second in itertools.pairwise(slopes))
    for (a, b), place in itertools.product(itertools.pairwise(hull), range(len(points))):
        if a <= place <= b:
            assert values[a] + (values[b] - values[a]) * (place - a) / (b - a) <= values[place] + 1e-9


def test_the_channel_with_the_least_loss_for_its_cost_is_removed_first():
    # Equal losses: the group that holds six times the parameters is removed first, as long as it is cheap.
    order = removal_order([quadratic(1.0)] * 3, ALLOWED, [0, 0, 0], params)
    assert order[0] == Step(2, 1)
    assert sorted(order) == sorted(Step(group, 1) for group in range(3) for _ in range(7))


def test_each_removal_is_the_cheapest_at_the_widths_before_it():
    losses = [quadratic(1.0), quadratic(0.5), quadratic(2.0)]
    counts = [0, 0, 0]
    for group, _ in removal_order(losses, ALLOWED, [0, 0, 0], flops):
        prices = {}
        for other in range(3):
            if counts[other] < 7:
                after = [count + (number == other) for number, count in enumerate(counts)]
                loss = losses[other](after[other]) - losses[other](counts[other])
                prices[other] = loss / (flops(counts) - flops(after))
        assert prices[group] == pytest.approx(min(prices.values()))
        counts[group] += 1


def test_a_group_that_saves_nothing_is_removed_last_unless_it_costs_nothing():
    def only_first(removed):
        return (8 - removed[0]) / 8

    order = removal_order([quadratic(1.0), quadratic(1.0), lambda count: 0.0], ALLOWED, [0, 0, 0], only_first)
    groups = [removal.group for removal in order]
    assert groups == [2] * 7 + [0] * 7 + [1] * 7


def test_allocation_is_the_best_of_all_widths_where_costs_are_linear():
    losses = [quadratic(1.0), quadratic(0.3), quadratic(2.0)]
    found = allocate(losses, ALLOWED, [0, 0, 0], [Budget("params", "parameters", params, 0.5)], tolerance=0.0)

    def loss(counts):
        return sum(one(count) for one, count in zip(losses, counts, strict=True))

    best = min(
        loss(counts) for counts in itertools.product(range(8), repeat=3) if params(counts) <= params(found) + 1e-9
    )
    assert params(found) <= 0.5
    assert loss(found) == pytest.approx(best, rel=0.1)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.3), (0.3, 0.5), (0.2, 0.35)])
def test_two_budgets_are_both_met(shares):
    widths = [64, 64, 64]

    def fine_flops(removed):
        return flops([8 * gone / width for gone, width in zip(removed, widths, strict=True)])

    def fine_params(removed):
        return params([8 * gone / width for gone, width in zip(removed, widths, strict=True)])

    losses = [lambda count, factor=factor: factor * (count / 64) ** 2 for factor in (1.0, 0.4, 1.5)]
    allowed = [list(range(1, 64))] * 3
    budgets = [Budget("flops", "FLOPs", fine_flops, shares[0]), Budget("params", "parameters", fine_params, shares[1])]
    found = allocate(losses, allowed, [0, 0, 0], budgets)
    left = fine_flops(found) - shares[0], fine_params(found) - shares[1]
    assert abs(max(left)) <= 0.01
    alone = allocate(losses, allowed, [0, 0, 0], budgets[:1])
    if fine_params(alone) <= shares[1]:
        assert found == alone
    else:
        other = allocate(losses, allowed, [0, 0, 0], budgets[1:])
        assert found == other or min(left) >= -0.02


def test_what_starts_removed_stays_removed_and_counts():
    found = allocate(
        [quadratic(1.0)] * 3, [[], ALLOWED[1], ALLOWED[2]], [4, 0, 0], [Budget("params", "parameters", params, 0.6)]
    )
    assert found[0] == 4
    assert params(found) <= 0.6
    assert params([0, found[1], found[2]]) > 0.6


def test_a_budget_below_the_floor_gives_all_that_may_be_removed():
    assert allocate([quadratic(1.0)] * 3, ALLOWED, [0, 0, 0], [Budget("params", "parameters", params, 0.01)]) == [
        7,
        7,
        7,
    ]


def test_a_step_that_overshoots_is_replaced_by_smaller_ones():
    removals = [Step(0, 1), Step(1, 6), Step(0, 1), Step(0, 1)]

    def excess(counts):
        return (14 - sum(counts)) / 16 - 0.7

    found = meet_budgets([0, 0], removals, excess, tolerance=0.02)
    assert found == [3, 0]
    assert counts_after([1, 0], removals[:2]) == [2, 6]


@pytest.mark.parametrize("count", [0, 3])
def test_other_numbers_of_budgets_are_refused(count):
    with pytest.raises(ValueError, match=f"one budget or two, got {count}"):
        allocate([quadratic(1.0)] * 3, ALLOWED, [0, 0, 0], [Budget("params", "parameters", params, 0.5)] * count)
