from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from foad_plugins.calibration.data import CalibrationData
from foad_plugins.recovery.batch_norm import input_moments, shift_running_stats
from tests.helpers.seeds import generator

IMAGES = torch.randn(12, 3, 6, 6, generator=generator())


def network() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
    )
    for norm in (model[1], model[5]):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return model.eval()


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("data", [IMAGES, list(IMAGES.split(4)), DataLoader(IMAGES, 5, shuffle=True)])
def test_a_network_that_has_not_changed_keeps_its_statistics(data):
    model = network().train()
    before = state(model)
    moments = input_moments(model, CalibrationData(data))
    assert same(model, before)
    shift_running_stats(model, moments, {}, CalibrationData(data))
    assert same(model, before)
    assert model.training


def test_moments_are_those_of_the_inputs():
    model = network()
    (first, second), (third, fourth) = input_moments(model, CalibrationData([IMAGES[:8], IMAGES[8:]])).values()
    with torch.no_grad():
        maps = model[0](IMAGES[8:])
        torch.testing.assert_close(second.mean, maps.mean((0, 2, 3)))
        torch.testing.assert_close(second.variance, maps.var((0, 2, 3), correction=0))
        torch.testing.assert_close(fourth.mean, model[:5](IMAGES[8:]).mean((0, 2, 3)))
    assert [moments.values for moments in (first, second, third, fourth)] == [128, 64, 32, 16]


def test_a_change_that_statistics_can_undo_is_undone():
    model = network()
    original = copy.deepcopy(model)
    moments = input_moments(model, CalibrationData(IMAGES))
    with torch.no_grad():
        # The first normalization can undo this completely.
        model[0].weight.mul_(3)
        model[0].bias.mul_(3).add_(7)
        shift_running_stats(model, moments, {}, CalibrationData(IMAGES))
        torch.testing.assert_close(model(IMAGES), original(IMAGES), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model[5].running_mean, original[5].running_mean, rtol=1e-3, atol=1e-3)


def test_statistics_of_kept_channels_are_compared():
    model = network()
    moments = input_moments(model, CalibrationData(IMAGES))
    kept = torch.tensor([0, 2, 3])
    with torch.no_grad():
        narrow = network()
        narrow[0], narrow[1] = nn.Conv2d(3, 3, 3), model[1]
        narrow[0].weight.copy_(model[0].weight[kept])
        narrow[0].bias.copy_(model[0].bias[kept] + 1)
        mean, variance = model[1].running_mean[kept], model[1].running_var[kept]
        narrow[1].running_mean, narrow[1].running_var, narrow[1].num_features = mean, variance, 3
        narrow[1].weight, narrow[1].bias = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))
        short = nn.Sequential(narrow[0], narrow[1])
        shift_running_stats(short, moments, {model[1]: kept}, CalibrationData(IMAGES))
    torch.testing.assert_close(short[1].running_mean, mean + 1)
    torch.testing.assert_close(short[1].running_var, variance, rtol=1e-4, atol=1e-5)


def test_layers_without_statistics_and_forward_functions():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), nn.BatchNorm2d(4))
    data = [{"pixels": IMAGES}]
    moments = input_moments(model, CalibrationData(data, 1, lambda net, batch: net(batch["pixels"])))
    assert list(moments) == [model[2]]


def test_a_constant_map_divides_by_nothing():
    model = network()
    with torch.no_grad():
        model[0].weight.zero_()
    moments = input_moments(model, CalibrationData(IMAGES))
    shift_running_stats(model, moments, {}, CalibrationData(IMAGES))
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
