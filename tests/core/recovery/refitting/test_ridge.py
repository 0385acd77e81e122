from __future__ import annotations

import pytest
import torch

from foad_plugins.recovery.refitting.dual import Rows
from foad_plugins.recovery.refitting.moments import Moments
from foad_plugins.recovery.refitting.ridge import STRENGTHS, solve


def moments(x, y, origin=None):
    origins = origin if origin is not None else (x.mean(1, keepdim=True), y.mean(1, keepdim=True))
    found = Moments(*origins)
    found.add(x, y)
    return found


def halves(x, y):
    origins = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    middle = x.shape[1] // 2
    return (
        moments(x[:, :middle], y[:, :middle], origins),
        moments(x[:, middle:], y[:, middle:], origins),
    )


def test_exact_weights_and_constants_are_found_for_each_group():
    x = torch.randn(3, 400, 5, dtype=torch.float64) + 2
    weight, constant = torch.randn(3, 5, 2, dtype=torch.float64), torch.randn(3, 1, 2, dtype=torch.float64)
    found = solve(*halves(x, x @ weight + constant), torch.zeros_like(weight), torch.zeros_like(constant))
    torch.testing.assert_close(found.weight, weight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.constant, constant, rtol=1e-3, atol=1e-3)
    assert found.strength == STRENGTHS[0]
    assert found.after < 1e-6 * found.scale < found.before


def test_noise_with_few_rows_keeps_the_weights_at_hand():
    weight = torch.randn(1, 30, 4, dtype=torch.float64)
    x = torch.randn(1, 40, 30, dtype=torch.float64)
    y = x @ weight + 5 * torch.randn(1, 40, 4, dtype=torch.float64)
    found = solve(*halves(x, y), weight, torch.zeros(1, 1, 4, dtype=torch.float64))
    plain = torch.linalg.lstsq(x[0], y[0]).solution
    assert found.strength >= 1e-1
    assert (found.weight - weight).norm() < 0.5 * (plain - weight[0]).norm()


def test_where_only_the_mean_is_wrong_only_the_constant_changes():
    x = torch.randn(1, 60, 40, dtype=torch.float64)
    weight = torch.randn(1, 40, 2, dtype=torch.float64)
    y = x @ weight + 3 + torch.randn(1, 60, 2, dtype=torch.float64)
    found = solve(*halves(x, y), weight, torch.zeros(1, 1, 2, dtype=torch.float64))
    torch.testing.assert_close(found.constant, torch.full_like(found.constant, 3.0), rtol=0.2, atol=0)
    assert (found.weight - weight).norm() < 0.05 * weight.norm()


def test_without_a_constant_the_regression_goes_through_zero():
    x = torch.randn(1, 500, 3, dtype=torch.float64) + 1
    y = x @ torch.ones(1, 3, 1, dtype=torch.float64) + 2
    zeros = torch.zeros(1, 3, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    found = solve(*halves(x, y), *zeros, constant=False)
    torch.testing.assert_close(found.weight[0], torch.linalg.lstsq(x[0], y[0]).solution, rtol=0.05, atol=0.05)
    assert found.constant == 0


def test_inputs_that_never_change_keep_their_weights():
    x = torch.randn(2, 200, 3, dtype=torch.float64)
    x[1], x[0, :, 2] = 7.0, 0.0
    start = torch.ones(2, 3, 1, dtype=torch.float64)
    found = solve(*halves(x, 2 * x @ start), start, torch.zeros(2, 1, 1, dtype=torch.float64))
    torch.testing.assert_close(found.weight[1], start[1])
    torch.testing.assert_close(
        found.weight[0, :, 0], torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(found.constant[1], torch.full((1, 1), 21.0, dtype=torch.float64))


def test_products_in_single_precision_keep_a_small_spread_beside_a_large_mean():
    x = torch.randn(1, 20_000, 4) + 1000
    y = x.double() @ torch.ones(1, 4, 1, dtype=torch.float64)
    found = solve(*halves(x, y.float()), torch.zeros(1, 4, 1).double(), torch.zeros(1, 1, 1).double())
    torch.testing.assert_close(found.weight, torch.ones_like(found.weight), rtol=1e-3, atol=0)


def test_nan_is_noticed():
    x, y = torch.randn(1, 5, 2), torch.randn(1, 5, 2)
    assert moments(x, y).finite()
    assert not moments(x, torch.full_like(y, float("nan"))).finite()
    x[0, 3, 1] = float("inf")
    assert not moments(x, y, (y[:, :1], y[:, :1])).finite()


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_rows_give_what_their_products_give(constant, noise):
    x, start = torch.randn(2, 30, 50, dtype=torch.float64) + 1, torch.randn(2, 50, 3, dtype=torch.float64)
    y = x @ start + 0.5 * x[..., :3] + 2 + noise * torch.randn(2, 30, 3, dtype=torch.float64)
    begin = start, torch.zeros(2, 1, 3, dtype=torch.float64)
    products = solve(*halves(x, y), *begin, constant=constant)
    rows = solve(Rows(x[:, :15], y[:, :15]), Rows(x[:, 15:], y[:, 15:]), *begin, constant=constant)
    assert rows.strength == products.strength
    for name in ("weight", "constant"):
        torch.testing.assert_close(getattr(rows, name), getattr(products, name), rtol=1e-6, atol=1e-6)
    for name in ("before", "after", "scale"):
        expected = getattr(products, name)
        if name == "scale" and not constant:
            expected = float((y[:, 15:] ** 2).sum() / 15)
        assert getattr(rows, name) == pytest.approx(expected, rel=1e-6)


def test_the_walk_finds_the_best_strength_wherever_it_begins():
    x, start = torch.randn(1, 120, 40, dtype=torch.float64), torch.zeros(1, 40, 2, dtype=torch.float64)
    y = x @ torch.randn(1, 40, 2, dtype=torch.float64) + 4 * torch.randn(1, 120, 2, dtype=torch.float64)
    found = {
        solve(*halves(x, y), start, torch.zeros(1, 1, 2, dtype=torch.float64), first=first).strength
        for first in (*STRENGTHS, float("inf"))
    }
    assert len(found) == 1
