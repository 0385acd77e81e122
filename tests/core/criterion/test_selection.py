from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foad_plugins import channel_similarity, greedy_select
from tests.helpers.reference_implementation import literal_selection


@settings(max_examples=150, deadline=None)
@given(
    channels=st.integers(1, 25),
    neighbors=st.integers(1, 30),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    levels=st.integers(2, 20),
    seed=st.integers(0, 10_000),
)
def test_equals_the_literal_rule_with_ties_and_all(channels, neighbors, threshold, levels, seed):
    values = torch.randint(1, levels + 1, (channels, channels), generator=torch.Generator().manual_seed(seed))
    similarity = torch.maximum(values, values.T) / levels
    similarity.fill_diagonal_(1)
    kept, representative = literal_selection(similarity, neighbors, threshold)
    selection = greedy_select(similarity, neighbors, threshold)
    assert selection.kept == tuple(kept)
    assert dict(zip(selection.removed, selection.representative, strict=True)) == representative
    assert len(selection.kept) >= 1
    assert selection.num_channels == channels
    for channel, by, alike in zip(selection.removed, selection.representative, selection.similarity, strict=True):
        assert alike == similarity[by, channel]
        assert alike >= threshold


@pytest.mark.parametrize("neighbors", [1, 2])
def test_a_channel_as_similar_as_the_threshold_goes_with_any_numpy(neighbors):
    # In single precision 0.9 is less than it is in double precision, and 0.3 is more.
    for threshold in (0.9, 0.3):
        similarity = torch.tensor([[1, threshold], [threshold, 1]])
        assert greedy_select(similarity, neighbors, threshold).removed == (1,)


def test_dead_channels_survive_as_the_published_rule_has_it():
    features = torch.zeros(2, 8, 4, 4)
    features[:, 0] = 1
    # Channel 0 takes 1 along; 2 finds 3; 4 and all that follow have kept channel 2 for their first neighbor.
    assert greedy_select(channel_similarity(features)).kept == (0, 2, 4, 5, 6, 7)


def test_the_selection_explains_itself():
    selection = greedy_select(torch.tensor([[1, 0.5, 0.25], [0.5, 1, 0.2], [0.25, 0.2, 1]]), 2, 0.3)
    assert selection.removed == (1,)
    assert "channel 1 removed: channel 0 is similar to 0.5000" in str(selection)
    with pytest.raises(dataclasses.FrozenInstanceError):
        selection.kept = ()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"neighbors": 0}, ValueError, "at least 1, got 0"),
        ({"neighbors": -3}, ValueError, "at least 1, got -3"),
        ({"neighbors": 1.5}, TypeError, "integer of at least 1, got 1.5"),
        ({"neighbors": True}, ValueError, "got True"),
        ({"threshold": -0.1}, ValueError, r"\[0, 1\], got -0.1"),
        ({"threshold": 1.1}, ValueError, r"\[0, 1\], got 1.1"),
        ({"threshold": math.nan}, ValueError, r"\[0, 1\], got nan"),
        ({"threshold": "high"}, TypeError, "a number"),
        ({"similarity": torch.ones(2, 3)}, ValueError, r"square .* got shape \(2, 3\)"),
        ({"similarity": torch.tensor([[1, math.nan], [math.nan, 1]])}, ValueError, "NaN"),
        ({"similarity": np.eye(3)}, TypeError, "ndarray"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        greedy_select(**{"similarity": torch.eye(3), **arguments})


def test_numpy_integers_count_as_integers():
    assert greedy_select(torch.rand(4, 4), np.int64(2), np.float32(0.5)).neighbors == 2
