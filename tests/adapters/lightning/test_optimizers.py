"""Optimizer state follows the kept entries of each parameter, whatever the optimizer and the dtype."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins.adapters.lightning.optimizers import optimizers_updated
from tests.helpers.seeds import generator

IMAGES = torch.rand(8, 3, 8, 8, generator=generator())


class Net(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, bias=bias)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 1)
        self.last = nn.Linear(6, 4)

    def forward(self, x):
        return self.last(self.second(self.norm(self.first(x)).relu()).mean((2, 3)))


def remove(model, layer, channels, prune=tp.prune_conv_out_channels):
    graph = tp.DependencyGraph().build_dependency(model, IMAGES.to(next(model.parameters()).dtype))
    graph.get_pruning_group(layer, prune, channels).prune()


def trained(model, optimizer):
    for _ in range(2):
        optimizer.zero_grad()
        model(IMAGES.to(next(model.parameters()).dtype)).square().sum().backward()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("kind", "key"), [(torch.optim.Adam, "exp_avg_sq"), (torch.optim.SGD, "momentum_buffer")])
def test_state_follows_the_kept_channels(dtype, kind, key):
    model = Net().to(dtype)
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    groups = [{"params": model.last.parameters(), "lr": 0.5}, {"params": [*model.parameters()][:-2]}]
    optimizer = trained(model, kind(groups, lr=0.01, **options))
    before = {name: optimizer.state[parameter][key].clone() for name, parameter in model.named_parameters()}
    with optimizers_updated(model, [optimizer]) as reset:
        remove(model, model.first, [1, 4, 5])
        remove(model, model.second, [0])
    first, second = [0, 2, 3, 6, 7], [1, 2, 3, 4, 5]
    expected = {
        "first.weight": before["first.weight"][first],
        "norm.bias": before["norm.bias"][first],
        "second.weight": before["second.weight"][second][:, first],
        "second.bias": before["second.bias"][second],
        "last.weight": before["last.weight"][:, second],
        "last.bias": before["last.bias"],
    }
    parameters = dict(model.named_parameters())
    assert all(torch.equal(optimizer.state[parameters[name]][key], value) for name, value in expected.items())
    assert reset == []
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 6]
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}
    assert set(optimizer.state) == set(model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    weight = model.first.weight.detach().clone()
    trained(model, optimizer)
    assert not torch.equal(weight, model.first.weight)


def test_state_of_another_shape_is_reset():
    model = Net()
    optimizer = trained(model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
    optimizer.state[model.first.weight]["row"] = torch.zeros(8)
    with optimizers_updated(model, [optimizer]) as reset:
        remove(model, model.first, [0])
    assert reset == ["first.weight"]
    assert model.first.weight not in optimizer.state
    assert model.norm.weight in optimizer.state


def test_a_new_bias_is_trained_with_its_weight():
    model = Net(bias=False)
    named = [(name, parameter) for name, parameter in model.named_parameters() if not name.startswith("last")]
    optimizer = trained(model, torch.optim.SGD([parameter for _, parameter in named], lr=0.01))
    optimizer.param_groups[0]["param_names"] = [name for name, _ in named]
    with optimizers_updated(model, [optimizer]):
        model.first.bias = nn.Parameter(torch.zeros(8))
    group = optimizer.param_groups[0]
    assert group["params"][1] is model.first.bias
    assert group["param_names"][:3] == ["first.weight", "first.bias", "norm.weight"]
    assert len(group["params"]) == len(named) + 1


def test_after_an_error_nothing_has_changed():
    model = Net()
    optimizer = trained(model, torch.optim.Adam(model.parameters()))
    before = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    states, groups = dict(optimizer.state), [*optimizer.param_groups[0]["params"]]

    def fail():
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), optimizers_updated(model, [optimizer]):
        fail()
    assert all(torch.equal(parameter.grad, before[name]) for name, parameter in model.named_parameters())
    assert dict(optimizer.state) == states
    assert all(new is old for new, old in zip(optimizer.param_groups[0]["params"], groups, strict=True))
