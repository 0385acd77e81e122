"""The kernels in Triton's interpreter, run by test_triton.py in a process of its own, since it is chosen at import."""

from __future__ import annotations

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from foad_plugins import greedy_select
from foad_plugins.criterion.kernels import packed, triton_sums
from foad_plugins.criterion.similarity import ChannelStatistics
from tests.helpers.reference_implementation import literal_similarity


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).relu()


def sums_of(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean similarities, sums of products of two channels, and the sum of squares."""
    channels = features.shape[1]
    similarities, products = (packed.empty_sums(channels, torch.device("cpu")) for _ in range(2))
    squares = triton_sums.add_sums(features, similarities, products)
    mean = packed.unpacked((similarities / len(features)).float(), channels).fill_diagonal_(1)
    return mean, packed.unpacked(products, channels), squares


def laid_out(features: torch.Tensor, layout: str) -> torch.Tensor:
    if layout == "channels last":
        return features.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "every second position":
        return torch.stack([features, -features], 3).flatten(2)[:, :, ::2]
    if layout == "part of the channels":
        return torch.cat([features, features], 1)[:, : features.shape[1]]
    if layout == "images innermost":
        return features.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    return features


# The interpreter is slow: a failing example is reported as it is found.
SLOWLY = {"deadline": None, "derandomize": True, "phases": [Phase.explicit, Phase.generate]}
LAYOUTS = ["contiguous", "channels last", "every second position", "part of the channels", "images innermost"]


# Up to two panels of channels and two chunks of positions.
@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=2, **SLOWLY)
@given(
    images=st.integers(1, 2),
    channels=st.sampled_from([1, 33, 64, 66]),
    positions=st.sampled_from([1, 16, 17, 32, 33]),
    scale=st.sampled_from([1e-12, 1e-3, 1.0, 1e3, 1e12]),
    seed=st.integers(0, 99),
)
def test_sums_are_those_of_the_literal_loop(layout, images, channels, positions, scale, seed):
    features = laid_out(maps(images, channels, positions, seed=seed) * scale, layout)
    found, products, squares = sums_of(features)
    exact = features.double()
    torch.testing.assert_close(found, literal_similarity(exact), atol=1e-6, rtol=1e-5)
    expected = torch.einsum("ncl,ndl->cd", exact, exact)
    largest = expected.diagonal().max()
    torch.testing.assert_close(
        products.fill_diagonal_(0), expected.fill_diagonal_(0), atol=1e-6 * float(largest), rtol=0
    )
    torch.testing.assert_close(squares.double(), exact.square().sum(), atol=0, rtol=1e-5)


@pytest.mark.parametrize("positions", [1, 16, 33])
@settings(max_examples=1, **SLOWLY)
@given(
    channels=st.integers(65, 70),
    layout=st.sampled_from(LAYOUTS),
    data=st.data(),
)
def test_duplicates_and_dead_channels_are_at_distance_zero(positions, channels, layout, data):
    features = maps(2, channels, positions) * 37 + 1
    members = data.draw(st.lists(st.integers(0, channels - 1), min_size=4, max_size=8, unique=True))
    copies, dead = members[: len(members) // 2], members[len(members) // 2 :]
    features[:, copies] = features[:, copies[:1]]
    features[:, dead] = 0
    found, _, _ = sums_of(laid_out(features, layout))
    for same in (copies, dead):
        assert (found[same][:, same] == 1).all()
    assert (found[dead][:, copies] < 1).all()


@pytest.mark.parametrize("positions", [3, 17, 33])
@settings(max_examples=1, **SLOWLY)
@given(
    apart=st.sampled_from([1e-5, 1e-3, 1e-1]),
    shift=st.sampled_from([0.0, 100.0]),
    pairs=st.lists(st.tuples(st.integers(0, 59), st.integers(60, 69)), min_size=1, max_size=9),
)
def test_close_pairs_keep_their_distance(positions, apart, shift, pairs):
    features = maps(1 if shift else 2, 70, positions) * 10 + shift
    for first, second in pairs:
        features[:, second] = features[:, first] + apart
    found, _, _ = sums_of(features)
    expected = literal_similarity(features.double())
    # Far from zero the difference of the values is all that is left of them: no precision helps there.
    torch.testing.assert_close(found, expected, atol=1e-4 if shift else 1e-6, rtol=0)
    close = expected > 0.9
    torch.testing.assert_close(found[close], expected[close], atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("positions", [4, 33])
def test_half_precision_loses_nothing_in_one_plane(dtype, positions):
    features = maps(2, 66, positions).to(dtype)
    found, _, _ = sums_of(features)
    torch.testing.assert_close(found, literal_similarity(features.double()), atol=1e-6, rtol=0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("positions", [5, 40])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_values_that_cannot_be_measured_show_in_the_sum_of_squares(positions, bad):
    features = maps(1, 66, positions)
    features[0, 65, positions - 1] = bad
    assert not sums_of(features)[2].isfinite()


@pytest.mark.parametrize("positions", [5, 40])
def test_equal_input_gives_equal_bits_however_images_are_split(positions, monkeypatch):
    features = maps(3, 70, positions)
    features[:, 69] = features[:, 1]
    once = sums_of(features)[0]
    assert torch.equal(sums_of(features)[0], once)
    monkeypatch.setattr(triton_sums, "_PLANE_BYTES", 1)
    monkeypatch.setattr(triton_sums, "_PROGRAMS", 12)
    assert torch.equal(sums_of(features)[0], once)


def test_wide_tiles():
    features = maps(1, 257, 17)
    similarities = packed.empty_sums(257, torch.device("cpu"))
    triton_sums.add_sums(features, similarities)
    found = packed.unpacked(similarities.float(), 257).fill_diagonal_(1)
    torch.testing.assert_close(found, literal_similarity(features.double()), atol=1e-6, rtol=0)
    plain = ChannelStatistics(257).update(features).compute()
    assert greedy_select(found).kept == greedy_select(plain).kept


@pytest.mark.parametrize(
    ("features", "fits"),
    [
        (torch.empty(1, 2, 3), True),
        (torch.empty(1, 2, 3, dtype=torch.bfloat16), True),
        (torch.empty(1, 2, 3, dtype=torch.float64), False),
        (torch.empty(1).expand(1, 2**14, 2**16), False),
        (torch.empty(1).as_strided((1, 1, 1), (2**40, 2**40, 2**40)), True),
    ],
)
def test_what_the_kernels_can_read(features, fits):
    assert triton_sums.fits(features) is fits
