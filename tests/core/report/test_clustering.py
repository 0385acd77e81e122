from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import average

from foad_plugins import channel_similarity
from foad_plugins.report.clustering import cluster_order, similarity_range


def symmetric(size):
    table = torch.rand(size, size)
    return ((table + table.T) / 2).fill_diagonal_(1)


@pytest.mark.parametrize("size", [2, 3, 10, 60, 600])
@pytest.mark.parametrize("make", [symmetric, lambda size: channel_similarity(torch.randn(4, size, 3, 3))])
def test_every_cluster_of_the_average_linkage_tree_is_contiguous(size, make):
    similarity = make(size)
    order = cluster_order(similarity)
    assert sorted(order) == list(range(size))
    place = {channel: number for number, channel in enumerate(order)}
    condensed = [float(1 - similarity[i, j]) for i, j in itertools.combinations(range(size), 2)]
    clusters = [{channel} for channel in range(size)]
    for left, right, *_ in average(condensed):
        clusters.append(clusters[int(left)] | clusters[int(right)])
        places = sorted(place[channel] for channel in clusters[-1])
        assert places == list(range(places[0], places[-1] + 1))


def test_duplicates_are_neighbors_and_similar_clusters_meet():
    similarity = torch.full((6, 6), 0.1).fill_diagonal_(1)
    for i, j, value in [(0, 3, 1.0), (1, 4, 1.0), (2, 5, 1.0), (3, 4, 0.6), (1, 0, 0.2)]:
        similarity[i, j] = similarity[j, i] = value
    order = cluster_order(similarity)
    place = [order.index(channel) for channel in range(6)]
    assert [abs(place[i] - place[i + 3]) for i in range(3)] == [1, 1, 1]
    assert abs(place[3] - place[4]) == 1


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_equal_similarities(size):
    assert sorted(cluster_order(torch.ones(size, size))) == list(range(size))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value):
    with pytest.raises(ValueError, match="similarity must"):
        cluster_order(torch.full((2, 2), value))


def test_the_range_ignores_the_diagonal():
    table = np.array([[1.0, 0.2, 0.4], [0.2, 1.0, np.nan], [0.4, 0.0, 1.0]])
    assert similarity_range(table) == (0.2, 0.4)
    low, high = similarity_range(np.ones((3, 3)))
    assert low < high == 1.0
    assert similarity_range(np.ones((1, 1)))[1] == 1.0
