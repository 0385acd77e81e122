from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins.recovery.training.weights import working_weights


@pytest.fixture
def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))


def change(network: nn.Sequential) -> None:
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.add_(1)


def test_changes_are_lost_unless_they_are_accepted(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    places = [tensor.data_ptr() for tensor in network.state_dict().values()]
    with working_weights(network, memory_format=torch.channels_last):
        change(network)
        assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with working_weights(network) as weights:
        change(network)
        weights.accept()
    assert all(torch.equal(value, before[name] + 1) for name, value in network.state_dict().items())
    assert [tensor.data_ptr() for tensor in network.state_dict().values()] == places


def test_snapshots_are_copies_and_can_be_loaded(network):
    with working_weights(network) as weights:
        first = weights.snapshot()
        change(network)
        assert not torch.equal(first[0], network[0].weight)
        weights.load(first)
        assert torch.equal(first[0], network[0].weight)
        assert weights.names[:2] == ["0.weight", "0.bias"]


def test_flags_gradients_and_replaced_buffers_come_back_after_an_error(network):
    network[0].weight.grad = torch.ones_like(network[0].weight)
    network[1].eval()
    mean, gradient = network[1].running_mean, network[0].weight.grad

    def interrupted() -> None:
        with working_weights(network):
            assert network[0].weight.grad is None
            network[1].running_mean = torch.ones(3)
            network.train()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert network[1].running_mean is mean
    assert network[0].weight.grad is gradient
    assert [module.training for module in network.modules()] == [True, True, False]


def test_an_interrupt_while_values_are_accepted_leaves_the_old_ones(network, monkeypatch):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    equal, calls = torch.equal, []

    def interrupted(*tensors: torch.Tensor) -> bool:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return equal(*tensors)

    def accepted() -> None:
        with working_weights(network) as weights:
            change(network)
            monkeypatch.setattr(torch, "equal", interrupted)
            weights.accept()

    with pytest.raises(KeyboardInterrupt):
        accepted()
    monkeypatch.undo()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_buffers_with_repeated_elements_that_nothing_changes_are_accepted(network):
    network.register_buffer("steps", torch.zeros(1).expand(4))
    with working_weights(network) as weights:
        weights.accept()
    assert network.steps.shape == (4,)


def test_shared_weights_are_used_as_they_are(network):
    place = network[0].weight.data_ptr()
    with working_weights(network, torch.device("cpu"), share=True):
        assert network[0].weight.data_ptr() == place
