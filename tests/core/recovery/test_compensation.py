from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foad_plugins.recovery.compensation import fold_weights, least_squares_coefficients, representative_coefficients


def gram(maps: torch.Tensor) -> torch.Tensor:
    return maps.double() @ maps.double().T / maps.shape[1]


def test_least_squares_is_the_regression():
    maps = torch.randn(8, 200, dtype=torch.float64)
    kept, removed = [0, 2, 3, 6, 7], [1, 4, 5]
    found = least_squares_coefficients(gram(maps), kept, removed, ridge=0.0)
    expected = torch.linalg.lstsq(maps[kept].T, maps[removed].T).solution
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), ridge=st.sampled_from([0.0, 1e-3, 0.1, 10.0]), scale=st.floats(0.01, 100))
def test_a_copy_is_replaced_by_its_original_whatever_the_penalty(seed, ridge, scale):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(6, 40, generator=generator).relu() + 0.01
    maps[5], maps[4] = maps[1], -maps[2] * scale
    found = least_squares_coefficients(gram(maps), [0, 1, 2, 3], [4, 5], ridge)
    expected = torch.zeros(4, 2, dtype=torch.float64)
    expected[2, 0], expected[1, 1] = -1, 1
    # In units of the copies: the maps, and so the regression, are rounded in proportion to them.
    torch.testing.assert_close(found / torch.tensor([scale, 1.0]), expected, rtol=1e-6, atol=1e-6)


def test_the_error_grows_with_the_penalty_up_to_that_of_the_nearest_channel():
    maps = torch.randn(10, 30, dtype=torch.float64)
    matrix, kept, removed = gram(maps), list(range(6)), [6, 7, 8, 9]
    errors = []
    for ridge in (0.0, 0.01, 1.0, 1e6):
        shares = least_squares_coefficients(matrix, kept, removed, ridge)
        errors.append((maps[removed] - shares.T @ maps[kept]).square().sum())
    assert errors == sorted(errors)
    single = min_single = 0.0
    for channel in removed:
        fits = [(maps[channel] @ maps[other]) ** 2 / (maps[other] @ maps[other]) for other in kept]
        min_single += float(maps[channel].square().sum() - max(fits))
    single = float(errors[-1])
    assert single == pytest.approx(min_single, rel=1e-4)


def test_a_singular_matrix_and_zero_channels():
    maps = torch.rand(6, 3)  # fewer samples than channels
    maps[0], maps[3] = maps[1], 0
    shares = least_squares_coefficients(gram(maps), [0, 1, 2, 3], [4, 5])
    assert shares.isfinite().all()
    assert (shares[3] == 0).all()
    assert (least_squares_coefficients(torch.zeros(3, 3).double(), [0, 1], [2]) == 0).all()
    assert least_squares_coefficients(gram(maps), [], [1]).shape == (0, 1)
    assert least_squares_coefficients(gram(maps), [1], []).shape == (1, 0)


@pytest.mark.parametrize(
    ("matrix", "ridge", "message"),
    [
        (torch.ones(2, 3).double(), 0.1, "square"),
        (torch.full((2, 2), float("nan")).double(), 0.1, "finite"),
        (torch.eye(2).double(), -1.0, "ridge must be 0 or more"),
    ],
)
def test_wrong_input(matrix, ridge, message):
    with pytest.raises(ValueError, match=message):
        least_squares_coefficients(matrix, [0], [1], ridge)


def test_representatives():
    shares = representative_coefficients([0, 2, 5], [1, 3, 4], {1: 5, 3: 0})
    assert shares.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    with pytest.raises(ValueError, match="channel 4, the representative of channel 1, is not kept"):
        representative_coefficients([0, 2], [1, 4], {1: 4})


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3, 3), (3, 5, 2, 2, 2), (0, 5, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_folding_is_a_product_on_the_second_dimension(shape, dtype):
    weight = torch.randn(shape).to(dtype)
    shares = torch.rand(3, 2, dtype=torch.float64)
    changed = fold_weights(weight, shares, [0, 2, 4], [1, 3])
    assert changed.dtype == dtype
    assert torch.equal(changed[:, [1, 3]], weight[:, [1, 3]])
    expected = weight[:, [0, 2, 4]].double()
    for row in range(3):
        for column, channel in enumerate([1, 3]):
            expected[:, row] += shares[row, column] * weight[:, channel].double()
    torch.testing.assert_close(changed[:, [0, 2, 4]], expected.to(dtype))
