from __future__ import annotations

import math
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foad_plugins import channel_similarity, elimination_order, greedy_select
from foad_plugins.criterion import selection
from foad_plugins.criterion.block_elimination import PatchTerm
from foad_plugins.criterion.ordering import ORDERS
from foad_plugins.criterion.reconstruction import ReconstructionTerm, elimination_costs
from tests.helpers.reference_implementation import literal_rounds


def terms(channels: int, seed: int) -> list[ReconstructionTerm]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(channels, 50, generator=generator, dtype=torch.float64)
    weights = torch.randn(channels, 7, generator=generator, dtype=torch.float64)
    return [ReconstructionTerm(maps @ maps.T / 50, weights @ weights.T, 50)]


def similarity(channels: int, seed: int = 0) -> torch.Tensor:
    return channel_similarity(torch.randn(4, channels, 3, 3, generator=torch.Generator().manual_seed(seed)).relu())


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(0, 40),
    order=st.sampled_from(ORDERS),
    neighbors=st.integers(1, 4),
    threshold=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
def test_an_order_is_a_permutation_with_rising_scores(channels, order, neighbors, threshold, seed):
    table = similarity(channels, seed)
    given_terms = terms(channels, seed) if order in ("reconstruction", "patches") else ()
    if order == "patches":
        given_terms = [PatchTerm(term.gram, term.weight, torch.arange(channels)[:, None]) for term in given_terms]
    ranked = elimination_order(table, order, neighbors=neighbors, threshold=threshold, terms=given_terms)
    assert sorted(ranked.sequence) == list(range(channels))
    scores = ranked.importance()[list(ranked.sequence)]
    assert (scores.diff() > 0).all()
    assert ranked.name == order
    # A representative outlives the channel that goes for it.
    place = {channel: number for number, channel in enumerate(ranked.sequence)}
    for channel, representative in zip(ranked.sequence, ranked.representative, strict=True):
        assert representative == -1 or place[representative] > place[channel]
    assert [representative == -1 for representative in ranked.representative] == [
        number == channels - 1 for number in range(channels)
    ]


@pytest.mark.parametrize("neighbors", [1, 2, 5])
@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_the_first_round_is_the_published_selection(neighbors, threshold):
    table = similarity(60)
    selected = greedy_select(table, neighbors, threshold)
    ranked = elimination_order(table, "rounds", neighbors=neighbors, threshold=threshold)
    first = [channel for channel, number in zip(ranked.sequence, ranked.round, strict=True) if number == 0]
    assert sorted(first) == list(selected.removed)
    assert ranked.sequence[: len(first)] == tuple(first)
    for channel, representative, alike in zip(
        selected.removed, selected.representative, selected.similarity, strict=True
    ):
        assert ranked.scores[channel] == pytest.approx(1 - alike, abs=1e-6)
        assert ranked.representative[ranked.sequence.index(channel)] == representative


def test_later_rounds_repeat_the_pass_over_the_survivors():
    table = similarity(30)
    ranked = elimination_order(table, "rounds")
    alive = list(range(30))
    for number in range(max(ranked.round)):
        expected = [alive[place] for place in greedy_select(table[alive][:, alive]).removed]
        removed = [channel for channel, when in zip(ranked.sequence, ranked.round, strict=True) if when == number]
        assert sorted(removed) == expected
        alive = [channel for channel in alive if channel not in removed]
    assert len(alive) == 1


@settings(max_examples=150, deadline=None)
@given(
    channels=st.integers(1, 90),
    neighbors=st.sampled_from([1, 1, 1, 2, 5, 100]),
    threshold=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    kind=st.sampled_from(["random", "tied", "norms", "dead", "asymmetric"]),
    compacted=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_rounds_equal_the_literal_passes_with_ties_and_all(channels, neighbors, threshold, kind, compacted, seed):
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(channels, channels, generator=generator)
    if kind == "tied":
        table = (table * 4).ceil() / 4
    elif kind == "norms":
        # Everybody's nearest is the channel of the smallest norm.
        table = 1 / (1 + table[0, :, None] + table[0, None, :])
    elif kind == "dead":
        dead = (table[0] < 0.6).float()
        table = torch.maximum(table, dead[:, None] * dead[None, :])
    if kind != "asymmetric":
        table = torch.maximum(table, table.T)
    with mock.patch.object(selection, "_LEAST_COMPACTED", 2 if compacted else 512):
        ranked = elimination_order(table, "rounds", neighbors=neighbors, threshold=threshold)
    expected = literal_rounds(table, neighbors, threshold)
    found: list[dict[int, int]] = [{} for _ in expected]
    for channel, representative, number in list(zip(ranked.sequence, ranked.representative, ranked.round, strict=True))[
        :-1
    ]:
        found[number][channel] = representative
    assert found == expected


def test_backward_removes_the_channel_with_the_most_redundancy_left():
    table = similarity(25)
    ranked = elimination_order(table, "backward")
    alive = list(range(25))
    for channel, representative in zip(ranked.sequence[:-1], ranked.representative, strict=False):
        rest = table.double()[alive][:, alive].fill_diagonal_(0)
        redundancy = rest.sum(1) / (len(alive) - 1)
        assert redundancy[alive.index(channel)] == pytest.approx(float(redundancy.max()), abs=1e-9)
        assert ranked.scores[channel] >= 1 - float(redundancy.max()) - 1e-9
        assert representative == alive[int(rest[alive.index(channel)].argmax())]
        alive.remove(channel)


@pytest.mark.parametrize("order", ["rounds", "backward"])
def test_copies_go_first(order):
    # All others are equally far apart, so that no copy goes for the sake of a third channel.
    features = 10 * torch.eye(12).expand(3, 12, 12).clone()
    features[:, 7] = features[:, 2]
    features[:, 11] = features[:, 4]
    ranked = elimination_order(channel_similarity(features), order)
    assert set(ranked.sequence[:2]) == {7, 11}


@settings(max_examples=30, deadline=None)
@given(pair=st.lists(st.integers(0, 19), min_size=2, max_size=2, unique=True), seed=st.integers(0, 1000))
def test_of_two_copies_the_lower_index_stays_longer(pair, seed):
    low, high = sorted(pair)
    features = torch.randn(3, 20, 4, 4, generator=torch.Generator().manual_seed(seed))
    features[:, high] = features[:, low]
    table = channel_similarity(features)
    ranked = elimination_order(table, "backward")
    place = {channel: number for number, channel in enumerate(ranked.sequence)}
    assert place[high] < place[low]
    assert ranked.representative[place[high]] == low
    assert ranked.similarity[place[high]] == 1
    selection = greedy_select(table)
    # The rule walks by index: whichever of the two is taken first for another's sake, both are never taken for one.
    representatives = dict(zip(selection.removed, selection.representative, strict=True))
    assert representatives.get(high, low) == low or representatives.get(low) is not None


def test_a_threshold_that_stops_the_passes_does_not_stop_the_order():
    ranked = elimination_order(similarity(10), "rounds", threshold=1.0)
    assert len(ranked.sequence) == 10
    assert math.isnan(ranked.similarity[-1])


def test_an_unknown_order_is_named():
    with pytest.raises(ValueError, match=r"order must be one of .*, got 'forwards'"):
        elimination_order(torch.eye(3), "forwards")


def test_reconstruction_goes_by_what_is_read_and_needs_it():
    table = similarity(6)
    given_terms = terms(6, 0)
    ranked = elimination_order(table, "reconstruction", terms=given_terms)
    sequence, costs = elimination_costs(given_terms)
    assert list(ranked.sequence) == sequence
    assert [ranked.scores[channel] for channel in sequence] == pytest.approx(costs, abs=1e-10)
    with pytest.raises(ValueError, match="at least one term"):
        elimination_order(table, "reconstruction")
    with pytest.raises(ValueError, match="over the 6 channels"):
        elimination_order(table, "reconstruction", terms=terms(5, 0))
