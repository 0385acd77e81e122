"""Sums in one pass beside those by operations of torch's."""

from __future__ import annotations

import sys

import pytest
import torch

from foad_plugins import ChannelStatistics, channel_similarity, greedy_select
from foad_plugins.criterion.kernels import dispatch as fused

pytest.importorskip("numba", reason="needs the extra fast")


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    features = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).relu() * 10
    features[:, 10] = features[:, 3]
    features[:, [5, 7]] = 0
    features[0, 12] = features[0, 4] + 1e-4
    features[1, 16] = features[1, 15] * 1.02
    return features


def plainly(features: torch.Tensor) -> torch.Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(fused.SWITCH, "0")
        return channel_similarity(features)


@pytest.mark.parametrize(
    "shape", [(5, 20, 5, 5), (3, 270, 2, 2), (4, 40), (2, 64, 40, 40), (9, 130, 7), (2, 17, 1, 6), (3, 100, 16, 16)]
)
def test_one_pass_and_many_give_the_same(shape):
    features = maps(*shape)
    one, many = channel_similarity(features), plainly(features)
    torch.testing.assert_close(one, many, atol=1e-6, rtol=0)
    assert greedy_select(one).kept == greedy_select(many).kept
    for similarity in (one, many):
        assert similarity[3, 10] == similarity[5, 7] == 1
        assert torch.equal(similarity[3], similarity[10])


@pytest.mark.parametrize("shape", [(8, 70, 3, 3), (8, 70, 2, 2), (8, 130, 9, 9)])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_an_image_adds_depends_on_no_other(shape, threads):
    torch.set_num_threads(threads)
    features = maps(*shape)
    whole = channel_similarity(features)
    for split in (1, 3):
        apart = ChannelStatistics(shape[1])
        for part in features.flip(0).split(split):
            apart.update(part)
        assert torch.equal(apart.compute(), whole)


@pytest.mark.parametrize("layout", ["channels last", "every second", "a part of the channels"])
def test_maps_that_do_not_lie_in_one_piece(layout):
    features = maps(3, 80, 6, 12)
    if layout == "channels last":
        features = features.to(memory_format=torch.channels_last)
    else:
        features = features[..., ::2] if layout == "every second" else features[:, 2:60]
    torch.testing.assert_close(channel_similarity(features), channel_similarity(features.contiguous()))


def test_other_precisions_and_the_switch_keep_to_plain_operations(monkeypatch):
    assert fused.numba_sums(torch.empty(1, 2, 3)) is not None
    assert fused.numba_sums(torch.empty(1, 2, 3, dtype=torch.float64)) is None
    monkeypatch.setenv(fused.SWITCH, "0")
    assert fused.numba_sums(torch.empty(1, 2, 3)) is None


def test_without_numba_plain_operations_do_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "foad_plugins.criterion.kernels.numba_loops", raising=False)
    assert fused._compiled.__wrapped__() is None
