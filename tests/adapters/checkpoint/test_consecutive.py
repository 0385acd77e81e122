from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins import CheckpointError, load_pruned, save_pruned
from foad_plugins.adapters.checkpoint.consecutive import consecutive_problem
from tests.helpers.state_fingerprint import fingerprint
from tests.networks.small_networks import Attention, Chain, Concat, Residual, Tokens


class Choosing(nn.Module):
    """Its code depends on the values, so that it cannot be followed without data."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
        self.seen = None

    def forward(self, x):
        self.seen = x
        return self.second(self.first(x)) if x.sum() > 0 else x


class Counting(nn.Module):
    """Its forward changes what is stored in it."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.last = None

    def forward(self, x):
        self.calls += 1
        self.last = x
        torch.rand(1)
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(self.conv(x), 1), 1))


def narrowed_input(model, name):
    """The model with one input channel less in a layer, whose own tensors and integers fit each other."""
    layer = model.get_submodule(name)
    attribute = "in_channels" if hasattr(layer, "in_channels") else "in_features"
    setattr(layer, attribute, getattr(layer, attribute) - 1)
    layer.weight = nn.Parameter(layer.weight.detach()[:, :-1].clone())
    return model


@pytest.mark.parametrize("network", [Chain, Residual, Concat, Tokens, Attention, Choosing, Counting])
def test_networks_that_fit_are_accepted(network):
    assert consecutive_problem(network()) is None


@pytest.mark.parametrize(
    ("network", "name", "message"),
    [
        (Chain, "conv2", "layers 'conv1' and 'conv2' do not fit each other: 8 and 7"),
        (Chain, "fc", "layers 'conv2' and 'fc' do not fit each other: 12 and "),
        (Counting, "head", "layers 'conv' and 'head' do not fit each other: 8 and 7"),
    ],
)
def test_a_forged_file_whose_layers_do_not_fit_each_other_is_refused(network, name, message, tmp_path):
    path = tmp_path / "forged.safetensors"
    save_pruned(narrowed_input(network(), name), path)
    fresh = network()
    before, state = fingerprint(fresh), torch.random.get_rng_state()
    with pytest.raises(CheckpointError, match=message):
        load_pruned(fresh, path)
    assert fingerprint(fresh) == before
    assert getattr(fresh, "last", None) is None
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_sum_of_different_widths_and_a_concatenation_of_another_width():
    class Sum(nn.Module):
        def __init__(self, second, one=False):
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 1 if one else second, 1)
            self.both = nn.Conv2d(8, 4, 1)

        def forward(self, x):
            return self.both(torch.relu(self.left(x) + self.right(x)))

    assert consecutive_problem(Sum(8)) is None
    assert consecutive_problem(Sum(8, one=True)) is None
    assert consecutive_problem(Sum(7)) == "layers 'left' and 'right' do not fit each other: 8 and 7"


def test_what_cannot_be_followed_is_not_refused(tmp_path):
    save_pruned(narrowed_input(Choosing(), "second"), tmp_path / "x.safetensors")
    fresh = load_pruned(Choosing(), tmp_path / "x.safetensors")
    assert fresh.second.in_channels == 7
    assert fresh.seen is None
