from __future__ import annotations

import itertools

import pytest
import torch

from foad_plugins import elimination_order
from foad_plugins.criterion.block_elimination import PatchTerm, block_elimination_costs


def term(channels=5, size=3, outputs=4, rows=200):
    x = torch.randn(rows, channels * size, dtype=torch.float64) @ torch.randn(channels * size, channels * size).double()
    weight = torch.randn(channels * size, outputs, dtype=torch.float64)
    # Position by position, each with its channels, as layers have them.
    blocks = torch.arange(channels * size).view(size, channels).T
    return PatchTerm(x.T @ x / rows, weight @ weight.T, blocks), x, weight


def error_without(x, weight, blocks, removed):
    """Mean square of what least squares on the other channels leaves of the output."""
    left = [int(i) for channel, block in enumerate(blocks) if channel not in removed for i in block]
    solution = torch.linalg.lstsq(x[:, left], x @ weight).solution
    return float((x[:, left] @ solution - x @ weight).square().sum() / len(x))


def test_every_step_removes_the_channel_that_raises_the_refitted_error_least():
    one, x, weight = term()
    sequence, costs = block_elimination_costs([one], ridge=1e-12)
    total = float((one.gram * one.weight).sum())
    removed, spent = [], 0.0
    for channel, cost in zip(sequence[:-1], costs[:-1], strict=True):
        errors = {c: error_without(x, weight, one.blocks, [*removed, c]) for c in range(5) if c not in removed}
        assert channel == min(errors, key=errors.get)
        removed.append(channel)
        spent += cost * total
        assert spent == pytest.approx(errors[channel], rel=1e-4)


def test_channels_are_judged_by_all_consumers_together():
    one, two = term()[0], term()[0]
    both = block_elimination_costs([one, two])
    assert both[0][0] == min(
        range(5),
        key=lambda channel: sum(
            block_elimination_costs([PatchTerm(t.gram, t.weight, t.blocks[[channel]])])[1][0]
            * (t.gram * t.weight).sum()
            for t in (one, two)
        ),
    )


def test_of_two_copies_one_costs_nothing():
    one, x, weight = term()
    x[:, one.blocks[3]] = x[:, one.blocks[1]]
    weight[one.blocks[3]] = weight[one.blocks[1]]
    sequence, costs = block_elimination_costs([PatchTerm(x.T @ x / 200, weight @ weight.T, one.blocks)], ridge=1e-9)
    assert sequence[0] in (1, 3)
    assert costs[0] < 1e-6 < costs[1]


def test_indices_of_no_channel_stay_and_stand_in():
    one, x, weight = term()
    x[:, one.blocks[0]] = x[:, one.blocks[4]]
    gram = x.T @ x / 200
    _, costs = block_elimination_costs([PatchTerm(gram, weight @ weight.T, one.blocks[:1])], ridge=1e-9)
    assert costs[0] < 1e-6


def test_it_is_an_order_like_the_others():
    one = term()[0]
    order = elimination_order(torch.eye(5), "patches", terms=[one])
    assert order.name == "patches"
    assert list(order.sequence) == block_elimination_costs([one])[0]
    scores = order.importance()[list(order.sequence)]
    assert (scores[1:] > scores[:-1]).all()


def test_wrong_terms_are_refused():
    one = term()[0]
    wrong = [
        [],
        [PatchTerm(one.gram[:4], one.weight, one.blocks)],
        [PatchTerm(one.gram * torch.nan, one.weight, one.blocks)],
        [PatchTerm(one.gram, one.weight, one.blocks + 1)],
        [one, term(channels=4)[0]],
    ]
    for terms in wrong:
        with pytest.raises(ValueError, match=r"terms|blocks|consumer"):
            block_elimination_costs(terms)
    for terms in itertools.chain(wrong[:1], [[term(channels=4)[0]]]):
        with pytest.raises(ValueError, match=r"consumer|channels"):
            elimination_order(torch.eye(5), "patches", terms=terms)
