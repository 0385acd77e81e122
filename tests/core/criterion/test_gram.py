from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foad_plugins.criterion.gram import GramStatistics


def literal(maps: torch.Tensor) -> torch.Tensor:
    rows = maps.double().flatten(2).transpose(0, 1).flatten(1)
    return rows @ rows.T / rows.shape[1]


@pytest.mark.parametrize(
    "shape", [(5, 3, 4, 4), (2, 300, 7, 7), (3, 4), (200, 6, 5), (2, 2, 80, 80), (1, 1, 1), (4, 3, 2, 2, 2)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_equals_the_literal_product(shape, dtype):
    maps = torch.randn(shape).to(dtype)
    statistics = GramStatistics(shape[1]).update(maps)
    expected = literal(maps if len(shape) > 2 else maps[..., None])
    assert statistics.compute().dtype == torch.float64
    torch.testing.assert_close(statistics.compute(), expected, rtol=1e-5, atol=1e-5 * float(expected.max()))
    assert torch.equal(statistics.compute(), statistics.compute().T)
    assert statistics.samples == maps.numel() // shape[1]


@settings(max_examples=30, deadline=None)
@given(split=st.integers(1, 9), seed=st.integers(0, 99))
def test_batches_add_up(split, seed):
    maps = torch.randn(9, 5, 3, 3, generator=torch.Generator().manual_seed(seed))
    whole = GramStatistics(5).update(maps)
    parts = GramStatistics(5)
    for part in maps.split(split):
        parts.merge(GramStatistics(5).update(part))
    torch.testing.assert_close(parts.compute(), whole.compute(), rtol=1e-6, atol=1e-6)
    assert parts.samples == whole.samples


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_values_that_are_no_numbers_change_nothing(bad):
    statistics = GramStatistics(2).update(torch.ones(1, 2, 3))
    before = statistics.compute()
    maps = torch.ones(1, 2, 3)
    maps[0, 1, 1] = bad
    with pytest.raises(ValueError, match="NaN, Inf or values too large"):
        statistics.update(maps)
    assert torch.equal(statistics.compute(), before)


def test_wrong_calls():
    with pytest.raises(ValueError, match="0 or more"):
        GramStatistics(-1)
    with pytest.raises(ValueError, match="call update"):
        GramStatistics(2).compute()
    with pytest.raises(TypeError, match="floating point"):
        GramStatistics(2).update(torch.ones(1, 2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"\(N, 2, ...\)"):
        GramStatistics(2).update(torch.ones(1, 3, 3))
    with pytest.raises(ValueError, match="cannot merge statistics of 3 channels into 2"):
        GramStatistics(2).merge(GramStatistics(3))
