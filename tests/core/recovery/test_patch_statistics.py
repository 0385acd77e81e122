from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins.calibration.data import CalibrationData
from foad_plugins.recovery.patch_statistics import PatchStatistics, patch_statistics


def test_the_term_holds_products_of_all_patches_by_channel():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, (2, 1)))
    x = torch.randn(6, 3, 8, 8)
    found = patch_statistics(model, [model[1]], CalibrationData(x), rows=10_000)
    term = found[model[1]].term(torch.arange(4)[:, None])
    patches = nn.functional.unfold(model[0](x), (2, 1)).transpose(1, 2).flatten(0, 1).detach().double()
    assert found[model[1]].samples == len(patches)
    # unfold has the values of a channel together, as the blocks say.
    index = term.blocks.flatten()
    expected = torch.cov(patches.T, correction=0)
    torch.testing.assert_close(term.gram[index][:, index], expected, rtol=1e-4, atol=1e-5)
    weight = model[1].weight.detach().double().flatten(1).T
    torch.testing.assert_close(term.weight[index][:, index], weight @ weight.T)


def test_flattened_maps_give_each_channel_all_of_its_features():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    columns = torch.arange(16).view(4, 4)
    found = patch_statistics(model, [model[2]], CalibrationData(torch.randn(20, 3, 4, 4)))
    assert torch.equal(found[model[2]].term(columns).blocks, columns)


def test_rows_are_drawn_where_there_are_more_and_the_same_each_time():
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    data = CalibrationData(torch.ones(8, 1, 32, 32))
    draws = [patch_statistics(model, [model[0]], data, rows=5)[model[0]] for _ in range(2)]
    assert draws[0].samples < 100
    assert torch.equal(draws[0].term(torch.zeros(1, 1).long()).gram, draws[1].term(torch.zeros(1, 1).long()).gram)


def test_nothing_gives_no_term():
    with pytest.raises(ValueError, match="no patch"):
        PatchStatistics(nn.Linear(2, 2)).term(torch.arange(2)[:, None])
