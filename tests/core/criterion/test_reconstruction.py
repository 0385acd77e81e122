from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foad_plugins.criterion.reconstruction import ReconstructionTerm, elimination_costs

RIDGE = 1e-6


def literal(terms: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[list[int], list[float]]:
    """Every step from scratch: a new inverse, and the weights themselves instead of their products."""
    weights = [weight.clone() for _, weight in terms]
    alive = list(range(len(terms[0][0])))
    total = sum(float((maps @ maps.T / maps.shape[1] * (weight @ weight.T)).sum()) for maps, weight in terms)
    sequence, costs = [], []
    while alive:
        cost = torch.zeros(len(alive), dtype=torch.float64)
        shares = []
        for (maps, _), weight in zip(terms, weights, strict=True):
            matrix = maps[alive] @ maps[alive].T / maps.shape[1]
            matrix = matrix + RIDGE * torch.diag(maps[alive].square().mean(1))
            inverse = torch.linalg.inv(matrix)
            cost += weight[alive].square().sum(1) / inverse.diagonal()
            shares.append(-inverse / inverse.diagonal())
        place = int(cost.argmin())
        removed = alive[place]
        for weight, share in zip(weights, shares, strict=True):
            for other, channel in enumerate(alive):
                if channel != removed:
                    weight[channel] += share[other, place] * weight[removed]
        sequence.append(removed)
        costs.append(float(cost[place]) / total)
        alive.remove(removed)
    return sequence, costs


def as_terms(terms: list[tuple[torch.Tensor, torch.Tensor]]) -> list[ReconstructionTerm]:
    return [
        ReconstructionTerm(maps @ maps.T / maps.shape[1], weight @ weight.T, maps.shape[1]) for maps, weight in terms
    ]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), channels=st.integers(1, 12), tensors=st.integers(1, 3))
def test_equals_the_literal_loop(seed, channels, tensors):
    generator = torch.Generator().manual_seed(seed)
    terms = [
        (
            torch.randn(channels, 60, generator=generator, dtype=torch.float64).relu() + 0.1,
            torch.randn(channels, 9, generator=generator, dtype=torch.float64),
        )
        for _ in range(tensors)
    ]
    sequence, costs = elimination_costs(as_terms(terms))
    expected, expected_costs = literal(terms)
    assert sequence == expected
    assert costs == pytest.approx(expected_costs, rel=1e-6, abs=1e-12)


def test_equals_the_literal_loop_beyond_a_panel():
    terms = [(torch.randn(150, 400, dtype=torch.float64), torch.randn(150, 20, dtype=torch.float64))]
    sequence, costs = elimination_costs(as_terms(terms))
    expected, expected_costs = literal(terms)
    assert sequence == expected
    assert costs == pytest.approx(expected_costs, rel=1e-6)


def test_copies_and_dead_channels_cost_next_to_nothing_and_go_first():
    maps = torch.rand(12, 100, dtype=torch.float64)
    maps[[1, 5, 9]] = maps[[0, 4, 8]]
    maps[11] = 0
    sequence, costs = elimination_costs(as_terms([(maps, torch.randn(12, 6, dtype=torch.float64))]))
    assert sequence[0] == 11
    assert {frozenset({channel, channel ^ 1}) for channel in sequence[1:4]} == {
        frozenset({0, 1}),
        frozenset({4, 5}),
        frozenset({8, 9}),
    }
    assert max(costs[:4]) < 1e-6 < costs[4] / 10


def test_fewer_samples_than_channels():
    maps = torch.rand(30, 5, dtype=torch.float64)
    sequence, costs = elimination_costs(as_terms([(maps, torch.randn(30, 6, dtype=torch.float64))]))
    assert sorted(sequence) == list(range(30))
    assert all(cost >= 0 for cost in costs)


def test_equal_costs_spare_the_lower_index():
    sequence, _ = elimination_costs([ReconstructionTerm(torch.eye(5).double(), torch.eye(5).double(), 9)])
    assert sequence == [4, 3, 2, 1, 0]
    assert elimination_costs([ReconstructionTerm(torch.zeros(3, 3).double(), torch.zeros(3, 3).double(), 9)])[0] == [
        2,
        1,
        0,
    ]


def test_wrong_terms():
    with pytest.raises(ValueError, match="at least one term"):
        elimination_costs([])
    one, other = torch.eye(3).double(), torch.eye(4).double()
    with pytest.raises(ValueError, match=r"finite \(3, 3\) matrices, got \(4, 4\)"):
        elimination_costs([ReconstructionTerm(one, one, 1), ReconstructionTerm(other, other, 1)])
    with pytest.raises(ValueError, match="finite"):
        elimination_costs([ReconstructionTerm(one, one * float("nan"), 1)])


def test_updates_instead_of_inverses():
    def seconds(channels: int) -> float:
        maps = torch.randn(channels, 2 * channels, dtype=torch.float64)
        terms = as_terms([(maps, maps[:, :64])])
        start = time.perf_counter()
        elimination_costs(terms)
        return time.perf_counter() - start

    matrix = torch.randn(768, 768, dtype=torch.float64)
    start = time.perf_counter()
    torch.linalg.inv(matrix)
    # A new inverse at every step would take a third of 768 of them.
    assert seconds(768) < 60 * (time.perf_counter() - start)
