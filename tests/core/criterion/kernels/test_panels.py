from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foad_plugins import ChannelStatistics, channel_similarity
from foad_plugins.criterion.kernels import cpu_sums, device_sums, packed, panels
from tests.helpers.reference_implementation import literal_similarity

pytestmark = pytest.mark.usefixtures("either_sums")


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).relu()


@pytest.mark.parametrize("channels", [0, 1, 63, 64, 65, 200])
def test_packed_sums_are_half_a_matrix(channels):
    sums = packed.empty_sums(channels, torch.device("cpu"))
    assert len(sums) <= channels * (channels + 64) / 2
    assert packed.unpacked(sums, channels).shape == (channels, channels)


@settings(max_examples=15, deadline=None)
@given(channels=st.integers(1, 150), positions=st.integers(1, 7), images=st.integers(1, 9), block=st.integers(1, 40000))
def test_sums_are_those_of_the_literal_loop_whatever_the_blocks(channels, positions, images, block):
    features = maps(images, channels, positions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_sums, "_BLOCK", block)
        found = channel_similarity(features)
    torch.testing.assert_close(found, literal_similarity(features), atol=2e-6, rtol=0)
    assert torch.equal(found, channel_similarity(features))


def test_near_pairs_are_mended_the_same_without_a_look_at_each_block(monkeypatch):
    features = maps(6, 130, 5, 5)
    features[:, 100] = features[:, 3] + 1e-3
    features[4, 70] = features[4, 66]
    features[:, 129] = features[:, 0]
    expected = channel_similarity(features)
    assert expected[0, 129] == 1
    monkeypatch.setattr(panels, "_on_cpu", lambda maps: False)
    found = channel_similarity(features)
    # In the images where nothing is near the pair is then measured by differences as well: the last digits may differ.
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert found[0, 129] == 1
    torch.testing.assert_close(expected, literal_similarity(features), atol=2e-6, rtol=0)


@settings(max_examples=15, deadline=None)
@given(channels=st.integers(1, 300), positions=st.integers(1, 7), images=st.integers(1, 9), block=st.integers(1, 10**6))
def test_several_panels_together_give_the_sums_of_each_alone(channels, positions, images, block):
    features = maps(images, channels, positions)
    features[:, channels // 2] = features[:, 0]
    expected = channel_similarity(features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "_on_cpu", lambda maps: False)
        patch.setattr(device_sums, "_ROWS", 2 * packed.PANEL)
        patch.setattr(device_sums, "_BLOCK", block)
        found = channel_similarity(features)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
    assert found[0, channels // 2] == 1


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
def test_distances_grow_with_the_scale_of_the_maps(scale):
    features = maps(4, 40, 4, 4)
    found = channel_similarity(features * scale)
    torch.testing.assert_close(found, literal_similarity(features.double() * scale).float(), atol=1e-6, rtol=1e-5)


def test_any_number_of_threads_gives_the_same_bits():
    features = maps(9, 150, 6, 6)
    once = channel_similarity(features)
    torch.set_num_threads(2)
    assert torch.equal(channel_similarity(features), once)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("positions", [2, 30])
def test_copies_and_silent_channels_in_either_precision(dtype, positions):
    features = maps(3, 80, positions).to(dtype)
    features[:, 79] = features[:, 2]
    features[:, [7, 70]] = 0
    similarity = ChannelStatistics(80).update(features).compute()
    assert similarity[2, 79] == similarity[7, 70] == 1
    assert torch.equal(similarity[2], similarity[79])
    assert torch.equal(similarity[7], similarity[70])


@pytest.mark.parametrize("shape", [(3, 150, 12), (5, 64, 3, 4), (2, 1, 20), (70, 3, 11)])
def test_products_come_with_the_similarities(shape):
    features = maps(*shape)
    sums = panels.similarity_sums(features.flatten(2), products=True)
    rows = features.double().flatten(2).transpose(0, 1).flatten(1)
    found = packed.unpacked_upper(sums.products, shape[1])
    torch.testing.assert_close(found, (rows @ rows.T).triu(), rtol=1e-5, atol=1e-5)
    assert torch.equal(packed.diagonal(sums.products, shape[1]), found.diagonal())
    assert torch.equal(sums.similarities, panels.similarity_sums(features.flatten(2)).similarities)


def test_maps_of_few_positions_have_no_products_to_share():
    assert panels.similarity_sums(maps(3, 20, 2), products=True).products is None
