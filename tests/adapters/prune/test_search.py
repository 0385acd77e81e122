from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch_pruning as tp
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from foad_plugins import prune
from foad_plugins.adapters.prune.search import (
    RANKINGS,
    Attempt,
    Candidate,
    Limits,
    Step,
    TargetError,
    cut_at_ratio,
    meet_target,
    removal_schedule,
    search,
)
from foad_plugins.adapters.torch_pruning.groups import structure
from foad_plugins.criterion.nearest import NearestKept
from tests.networks.small_networks import Chain, seeded_norms


def removed_by(graph):
    """A handler; its name is a part of the structure of a group."""


def stub(*modules):
    """Stands for a group of Torch-Pruning, of which only the types of the layers are used."""
    dep = [SimpleNamespace(target=SimpleNamespace(module=module), handler=removed_by) for module in modules]
    return [SimpleNamespace(dep=one) for one in dep]


def candidate(scores, channel_groups=1, width=None, kind=nn.Conv2d):
    scores = tuple(map(float, scores))
    layer = nn.Linear(1, 1) if kind is nn.Linear else nn.Conv2d(1, 1, 1)
    group = SimpleNamespace(group=stub(layer), channel_groups=channel_groups)
    nearest = NearestKept(torch.eye(len(scores)), range(len(scores)))
    return Candidate(group, tuple(range(len(scores))), scores, width or len(scores), nearest)


def free(candidates, round_to=1, most=1.0, fixed=None):
    return Limits(round_to, [most] * len(candidates), fixed or {})


def after(start, steps):
    """Counts after each step, the start first."""
    counts = list(start)
    yield tuple(counts)
    for step in steps:
        counts[step.group] += step.size
        yield tuple(counts)


groups_of_channels = st.lists(
    st.builds(
        candidate,
        st.lists(st.floats(-5, 5), min_size=1, max_size=12).map(sorted),
        channel_groups=st.sampled_from([1, 2, 3]),
        kind=st.sampled_from([nn.Conv2d, nn.Linear]),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("ranking", RANKINGS)
@given(candidates=groups_of_channels, round_to=st.integers(1, 6), most=st.floats(0, 1), share=st.floats(0, 0.99))
def test_all_allowed_removals_and_no_others(ranking, candidates, round_to, most, share):
    limits = free(candidates, round_to, most, {0: share})
    start, steps = removal_schedule(candidates, ranking, limits)
    assert all(step.group != 0 and step.size >= 1 for step in steps)
    allowed = [
        {len(c.sequence)}
        | {
            w
            for w in range(1, len(c.sequence))
            if w * c.group.channel_groups % round_to == 0 and len(c.sequence) - w <= most * c.width
        }
        for c in candidates
    ]
    for counts in after(start, steps):
        assert all(
            len(c.sequence) - count in widths for c, count, widths in zip(candidates, counts, allowed, strict=True)
        )
    # Everything that is allowed can be reached.
    assert [len(c.sequence) - count for c, count in zip(candidates[1:], counts[1:], strict=True)] == [
        min(widths) for widths in allowed[1:]
    ]


def test_local_ranking_takes_equal_shares_at_any_time():
    candidates = [candidate(range(10)), candidate(range(100, 120)), candidate([0] * 40, kind=nn.Linear)]
    for counts in after(*removal_schedule(candidates, "local", free(candidates))):
        shares = [count / len(c.sequence) for c, count in zip(candidates, counts, strict=True)]
        assert max(shares) - min(shares) <= 1 / 10 + 1e-9


def test_global_ranking_removes_the_lowest_scores_first():
    first, second = [0.1, 0.4, 0.5, 9], [0.2, 0.3, 0.6, 9]
    candidates = [candidate(first), candidate(second)]
    _, steps = removal_schedule(candidates, "global", free(candidates))
    assert [step.group for step in steps] == [0, 1, 1, 0, 0, 1]


def test_isomorphic_ranking_takes_equal_shares_of_kinds_and_the_lowest_scores_within_one():
    # Scores of the two kinds are not comparable: the linear layers' are all far higher.
    candidates = [
        candidate([0, 1, 2, 3]),
        candidate([0.5, 4, 5, 6]),
        candidate(range(100, 108), kind=nn.Linear),
    ]
    start, steps = removal_schedule(candidates, "isomorphic", free(candidates))
    for counts in after(start, steps):
        assert abs((counts[0] + counts[1]) / 8 - counts[2] / 8) <= 1 / 8 + 1e-9 or counts[0] + counts[1] == 6
    assert [step.group for step in steps if step.group != 2] == [0, 1, 0, 0, 1, 1]
    # Half of the convolutions' channels are removed from the start: the linear layer catches up first.
    start, steps = removal_schedule(candidates, "isomorphic", free(candidates, fixed={0: 0.75}))
    assert (start, [step.group for step in steps[:4]]) == ([3, 0, 0], [2, 2, 2, 1])


def test_structures_differ_in_layers_and_in_what_is_pruned_of_them():
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
    kinds = [structure(group) for group in (stub(conv), stub(nn.Linear(1, 1)), stub(conv, norm))]
    assert len(set(kinds)) == 3
    assert structure(stub(nn.Conv2d(3, 8, 5))) == kinds[0]
    other = stub(conv)
    other[0].dep.handler = abs
    assert structure(other) != kinds[0]


@pytest.mark.parametrize("ranking", RANKINGS)
def test_a_group_keeps_its_own_order_whatever_the_scores(ranking):
    # Blocks of one and four channels, the second with the lower scores.
    uneven = candidate([5, 0, 0, 0, 0, 0, 0, 0, 0])
    other = candidate([1.0] * 8)
    _, steps = removal_schedule([uneven, other], ranking, free([uneven, other], round_to=4))
    assert [step.size for step in steps if step.group == 0] == [1, 4]


@pytest.mark.parametrize(
    ("channel_groups", "round_to", "widths"),
    [
        (1, 8, {24, 16, 8}),
        (1, 7, {26, 21, 14, 7}),
        (2, 8, {24, 20, 16, 12, 8, 4}),
        (4, 8, {26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2}),
        (3, 8, {24, 16, 8}),
        (8, 8, set(range(1, 27))),
        (1, 30, set()),
    ],
)
def test_widths_end_at_multiples_or_are_unchanged(channel_groups, round_to, widths):
    group = candidate([0] * 26, channel_groups)
    counts = after(*removal_schedule([group], "local", free([group], round_to)))
    assert {26 - count for (count,) in counts} == widths | {26}


@pytest.mark.parametrize("most", [0.0, 0.3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("gone", [0, 3])
def test_maximum_ratios_hold_over_all_steps_of_pruning(most, gone):
    group = candidate(range(10 - gone), width=10)
    counts = list(after(*removal_schedule([group], "global", free([group], most=most))))[-1]
    assert gone + counts[0] == max(gone, min(int(most * 10), 9))


@pytest.mark.parametrize(
    ("ratio", "round_to", "gone", "count"),
    [(0.0, 1, 0, 0), (0.5, 1, 0, 5), (0.45, 1, 0, 5), (0.5, 4, 0, 6), (0.99, 1, 0, 9), (0.5, 1, 3, 2), (0.5, 1, 6, 0)],
)
def test_fixed_ratios_round_up_as_the_others_and_count_from_the_first_width(ratio, round_to, gone, count):
    group = candidate(range(10 - gone), width=10)
    start, steps = removal_schedule([group], "local", free([group], round_to, fixed={0: ratio}))
    assert (start, steps) == ([count], [])


def costs_of(prices):
    """A cost that never rises: the sum of what the channels left in each group cost."""
    return lambda counts: float(sum(sum(price[count:]) for price, count in zip(prices, counts, strict=True)))


prices = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=9), min_size=1, max_size=4)


@given(prices, st.floats(0, 1.1), st.floats(0, 0.2), st.data())
def test_search_ends_at_the_fewest_steps_or_nearer(price, share, tolerance, data):
    order = data.draw(st.permutations([n for n, group in enumerate(price) for _ in group]))
    steps, cost = [Step(n, 1) for n in order], costs_of(price)
    start = [0] * len(price)
    base = cost(start)
    target, slack = share * base, tolerance * base
    counts = search(start, steps, cost, target, slack)
    reached = next(taken for taken in after(start, steps) if cost(taken) <= target)
    assert abs(cost(counts) - target) <= abs(cost(reached) - target)
    if cost(reached) >= target - slack:
        assert tuple(counts) == reached
    assert all(0 <= count <= len(group) for count, group in zip(counts, price, strict=True))
    assert all(type(count) is int for count in counts)


def test_search_fills_with_smaller_steps_where_one_overshoots():
    # A block of the wide group is worth 40 of 100, one of the narrow group 4.
    price = [[10] * 8, [4] * 5]
    steps = [Step(0, 4), Step(1, 1), Step(0, 4), Step(1, 1), Step(1, 1), Step(1, 1)]
    # The step too many is taken where it ends nearer than the step too few.
    assert search([0, 0], steps, costs_of(price), 49, 0.5) == [4, 3]
    assert search([0, 0], steps, costs_of(price), 51, 0.5) == [4, 2]
    # No group skips a step of its own, whose width is not allowed.
    assert search([0], [Step(0, 4), Step(0, 1)], costs_of([[10] * 5]), 42, 1) == [0]
    # Nothing smaller is near: what is nearer of both sides.
    assert search([0], [Step(0, 4), Step(0, 4)], costs_of([[10] * 8]), 50, 1) == [4]
    assert search([0], [Step(0, 4), Step(0, 4)], costs_of([[10] * 8]), 70, 1) == [0]


def test_search_takes_what_is_fixed_into_account():
    price = [[10] * 5, [10] * 5]
    assert search([3, 0], [Step(1, 1)] * 4, costs_of(price), 50, 0) == [3, 2]
    assert search([3, 0], [Step(1, 1)] * 4, costs_of(price), 80, 1) == [3, 0]
    assert search([3, 0], [], costs_of(price), 70, 0) == [3, 0]


def test_the_error_of_the_search_contains_the_least_possible():
    steps, cost = [Step(0, 1)] * 4, costs_of([[10] * 5])
    with pytest.raises(TargetError, match=r"^10$"):
        search([0], steps, cost, 8, 1)
    assert search([0], steps, cost, 9.5, 1) == [4]
    assert search([0], steps, cost, 10, 0) == [4]


@pytest.mark.parametrize(("ranking", "left"), [("local", [5, 10]), ("global", [10, 5]), ("isomorphic", [5, 10])])
def test_a_ratio_is_of_each_group_of_all_or_of_each_kind(ranking, left):
    candidates = [candidate(range(20, 30)), candidate(range(20), kind=nn.Linear)]
    schedule = removal_schedule(candidates, ranking, free(candidates))
    counts = cut_at_ratio(candidates, schedule, 0.5, ranking)
    assert [len(c.sequence) - count for c, count in zip(candidates, counts, strict=True)] == left


class Mixed(nn.Module):
    """Widths that no ratio divides, and a grouped convolution."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 18, 3), nn.ReLU(), nn.Conv2d(18, 12, 3, groups=3), nn.ReLU(), nn.Conv2d(12, 31, 3), nn.ReLU()
        )
        self.fc = nn.Linear(31, 5)

    def forward(self, x):
        return self.fc(self.layers(x).mean((2, 3)))


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.45, 0.5, 0.7])
@pytest.mark.parametrize(("network", "round_to"), [(Chain, 1), (Mixed, 1), (Chain, 2)])
def test_ratios_round_as_torch_pruning_does(ratio, network, round_to):
    images = torch.rand(2, 3, 8, 8)
    model, other = seeded_norms(network()), network()
    prune(model, images, pruning_ratio=ratio, round_to=round_to, order="rounds", compensate=None, measure_latency=False)
    tp.pruner.BasePruner(
        other,
        (images[:1],),
        importance=tp.importance.MagnitudeImportance(),
        pruning_ratio=ratio,
        round_to=round_to,
        ignored_layers=[other.fc],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    ).step()
    assert [tuple(p.shape) for p in model.parameters()] == [tuple(p.shape) for p in other.parameters()]


def test_no_ratio_leaves_a_group_without_channels():
    for width, ratio in itertools.product([1, 2, 3, 10], [0.9, 0.99, np.nextafter(1, 0)]):
        group = candidate(range(width))
        schedule = removal_schedule([group], "local", free([group]))
        assert cut_at_ratio([group], schedule, ratio, "local")[0] == min(width - 1, int(np.ceil(width * ratio - 1e-9)))


@pytest.mark.parametrize(("misses", "attempts"), [(0, 1), (2, 3), (99, 6)])
def test_attempts_are_undone_until_one_is_accepted_or_they_are_six(misses, attempts):
    model, seen = nn.Linear(2, 2), []

    def plan(previous):
        seen.append(tuple(previous))
        return len(previous)

    def apply(number):
        assert not hasattr(model, "mark")
        model.mark = number
        return number

    def correction(planned, result, previous):
        return Attempt(planned, result + 0.5) if len(previous) < misses else None

    assert meet_target(model, plan, apply, correction) == model.mark == attempts - 1
    assert len(seen) == attempts
    assert seen[-1] == tuple(Attempt(number, number + 0.5) for number in range(attempts - 1))


def test_an_error_in_an_attempt_is_undone():
    model = nn.Linear(2, 2)

    def apply(_):
        model.mark = 1
        raise KeyError

    with pytest.raises(KeyError):
        meet_target(model, lambda previous: None, apply, lambda *_: None)
    assert not hasattr(model, "mark")
