from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foad_plugins.criterion.nearest import NearestKept


@settings(max_examples=100, deadline=None)
@given(channels=st.integers(1, 25), levels=st.integers(1, 20), seed=st.integers(0, 10_000), data=st.data())
def test_gives_the_most_similar_kept_channel_ties_to_the_lower_index(channels, levels, seed, data):
    values = torch.randint(1, levels + 1, (channels, channels), generator=torch.Generator().manual_seed(seed))
    similarity = torch.maximum(values, values.T) / levels
    sequence = data.draw(st.permutations(range(channels)))
    nearest = NearestKept(similarity, sequence)
    for count in range(channels):
        selection = nearest.selection(count)
        assert selection.removed == tuple(sorted(sequence[:count]))
        assert selection.kept == tuple(sorted(sequence[count:]))
        for removed, representative, alike in zip(
            selection.removed, selection.representative, selection.similarity, strict=True
        ):
            assert representative == max(selection.kept, key=lambda kept: (float(similarity[removed, kept]), -kept))
            assert alike == similarity[removed, representative]


def test_stores_little_of_a_large_matrix():
    similarity = torch.rand(300, 300, generator=torch.Generator().manual_seed(0))
    nearest = NearestKept(torch.maximum(similarity, similarity.T), range(300))
    assert sum(len(places) for places, _ in nearest._nearest) < 300 * 12


def test_wrong_calls():
    with pytest.raises(ValueError, match="each of the 2 channels once, got 1 entries"):
        NearestKept(torch.eye(2), [1])
    with pytest.raises(ValueError, match="count must be in 0, ..., 1, got 2"):
        NearestKept(torch.eye(2), [1, 0]).selection(2)
    assert NearestKept(torch.empty(0, 0), []).selection(0).kept == ()
