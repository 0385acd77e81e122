from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foad_plugins import ChannelStatistics, channel_similarity, greedy_select
from tests.helpers.reference_implementation import literal_similarity

pytestmark = pytest.mark.usefixtures("either_sums")


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).relu()


@pytest.mark.parametrize("shape", [(5, 12, 6, 6), (3, 7, 1, 1), (4, 9, 2, 2), (6, 20), (2, 5, 40), (2, 3, 2, 3, 4)])
def test_equals_the_literal_loop(shape):
    features = maps(*shape)
    torch.testing.assert_close(channel_similarity(features), literal_similarity(features), atol=2e-6, rtol=0)


def test_equals_the_literal_loop_over_several_panels_and_blocks():
    features = maps(3, 300, 5, 5)
    torch.testing.assert_close(channel_similarity(features), literal_similarity(features), atol=2e-6, rtol=0)


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_near_pairs_keep_their_distance(shift):
    # The expansion of the square alone is off by about 0.1 here, the direct difference by rounding.
    base = maps(4, 1, 8, 8) * 10 + shift
    features = torch.cat([base, base + 1e-3, base + 2e-3, maps(4, 3, 8, 8) * 10], dim=1)
    exact = literal_similarity(features.double()).float()
    torch.testing.assert_close(channel_similarity(features), exact, atol=2e-4 if shift else 2e-6, rtol=0)


@pytest.mark.parametrize("positions", [1, 4, 5, 64])
def test_duplicates_and_dead_channels_are_at_distance_zero(positions):
    features = maps(7, 150, positions) * 37
    features[:, 140] = features[:, 3]
    features[:, 10] = features[:, 3]
    features[:, [5, 60, 149]] = 0
    similarity = channel_similarity(features)
    for i, j in [(3, 140), (3, 10), (10, 140), (5, 60), (60, 149)]:
        assert similarity[i, j] == similarity[j, i] == 1
    # Ties must be exact, so that they can fall to the lower index.
    assert torch.equal(similarity[3], similarity[140])
    assert torch.equal(similarity[:, 10], similarity[:, 140])
    assert torch.equal(similarity[5], similarity[149])


def test_form_of_the_result():
    similarity = channel_similarity(maps(4, 10, 3, 3).requires_grad_())
    assert similarity.shape == (10, 10)
    assert similarity.dtype == torch.float32
    assert not similarity.requires_grad
    assert torch.equal(similarity, similarity.T)
    assert (similarity.diagonal() == 1).all()
    assert ((similarity > 0) & (similarity <= 1)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_taken_for_what_they_hold(dtype):
    features = maps(4, 10, 6, 6).to(dtype)
    torch.testing.assert_close(channel_similarity(features), literal_similarity(features.double()), atol=1e-6, rtol=0)


def test_memory_layout_does_not_matter():
    features = maps(3, 8, 6, 6)
    plain = channel_similarity(features)
    torch.testing.assert_close(channel_similarity(features.to(memory_format=torch.channels_last)), plain)
    torch.testing.assert_close(
        channel_similarity(maps(3, 8, 6, 12)[..., ::2]),
        channel_similarity(maps(3, 8, 6, 12)[..., ::2].contiguous()),
    )


@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(2, 12),
    channels=st.integers(2, 40),
    side=st.integers(1, 5),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_neither_order_nor_split_of_images_matters(images, channels, side, seed, data):
    features = maps(images, channels, side, side, seed=seed)
    whole = channel_similarity(features)
    permutation = data.draw(st.permutations(range(images)))
    cut = data.draw(st.integers(1, images - 1))
    parts = ChannelStatistics(channels).update(features[permutation][:cut])
    parts.merge(ChannelStatistics(channels).update(features[permutation][cut:]))
    assert parts.count == images
    torch.testing.assert_close(parts.compute(), whole, atol=1e-7, rtol=0)
    assert greedy_select(parts.compute()).kept == greedy_select(whole).kept


def test_permuting_channels_permutes_the_matrix():
    features = maps(4, 30, 5, 5)
    order = torch.randperm(30)
    torch.testing.assert_close(channel_similarity(features[:, order]), channel_similarity(features)[order][:, order])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), channels=st.integers(3, 150), power=st.integers(-6, 10), positions=st.integers(1, 40))
def test_scaling_all_maps_of_an_image_leaves_the_order_of_distances(seed, channels, power, positions):
    features = maps(1, channels, positions, seed=seed)
    before, after = channel_similarity(features).flatten(), channel_similarity(features * 2.0**power).flatten()
    # Pairs that one precision cannot tell apart, another scale may.
    ascending = np.lexsort((after.numpy(), before.numpy()))
    assert (after[torch.from_numpy(ascending)].diff() >= 0).all()


@pytest.mark.parametrize("channels", [0, 1])
def test_fewer_than_two_channels_are_no_error(channels):
    similarity = channel_similarity(torch.rand(3, channels, 4, 4))
    assert torch.equal(similarity, torch.ones(channels, channels))
    assert greedy_select(similarity).kept == tuple(range(channels))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("side", [1, 6])
def test_values_that_cannot_be_measured_are_refused(bad, side):
    features = maps(3, 6, side, side)
    statistics = ChannelStatistics(6).update(features)
    before = statistics.compute()
    features[1, 2, 0, 0] = bad
    with pytest.raises(ValueError, match="NaN, Inf"):
        statistics.update(features)
    assert torch.equal(statistics.compute(), before)
    assert statistics.count == 3


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="must be a tensor"):
        channel_similarity([[1.0]])
    with pytest.raises(TypeError, match="floating point, got torch.int64"):
        channel_similarity(torch.zeros(2, 3, 4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"shape \(N, C, ...\), got \(3,\)"):
        channel_similarity(torch.zeros(3))
    with pytest.raises(ValueError, match="at least one image"):
        channel_similarity(torch.zeros(0, 3, 4, 4))
    with pytest.raises(ValueError, match="at least one position"):
        channel_similarity(torch.zeros(2, 3, 0))
    with pytest.raises(ValueError, match=r"\(N, 4, ...\), got \(2, 3, 5\)"):
        ChannelStatistics(4).update(torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match="statistics of 3 channels into 4"):
        ChannelStatistics(4).merge(ChannelStatistics(3))
    with pytest.raises(ValueError, match="0 or more"):
        ChannelStatistics(-1)
    with pytest.raises(ValueError, match="no feature maps"):
        ChannelStatistics(4).compute()


def test_merging_nothing_changes_nothing():
    statistics = ChannelStatistics(4).update(maps(2, 4, 3, 3))
    before = statistics.compute()
    assert torch.equal(statistics.merge(ChannelStatistics(4)).compute(), before)
    assert torch.equal(ChannelStatistics(4).merge(statistics).compute(), before)


def test_near_channels_in_one_image_do_not_depend_on_the_batch():
    """Near pairs are measured another way, which must not reach into the batch's other images."""
    for seed in range(10):
        maps = 5 * torch.randn(16, 80, 6, 6, generator=torch.Generator().manual_seed(seed))
        maps[0, 1] = maps[0, 0] + 1e-3
        maps[3, 70] = maps[3, 5] * 1.0001
        apart = ChannelStatistics(80)
        for image in maps.split(1):
            apart.update(image)
        assert torch.equal(apart.compute(), channel_similarity(maps))
