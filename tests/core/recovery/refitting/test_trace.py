from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from foad_plugins.calibration.data import Call
from foad_plugins.recovery.refitting.trace import trace_run


def traced(model, shape=(2, 4, 6, 6)):
    x = torch.randn(shape)
    return trace_run(model.eval(), Call((x,), None), lambda model, call: model(*call.args))


class Block(nn.Module):
    """Two branches; ``join`` makes one map of theirs."""

    def __init__(self, join):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.join = join

    def forward(self, x):
        first = self.norm1(self.first(x))
        return self.join(x, first, self.norm2(self.second(x)))


def test_of_two_branches_the_last_one_corrects_the_sum():
    trace = traced(Block(lambda x, first, second: first + second))
    assert trace.sums == {"second"}
    assert trace.norms == {"first": "norm1", "second": "norm2"}
    assert [event for event in trace.events if event[0] == "layer"] == [("layer", "first"), ("layer", "second")]


def test_the_sum_is_found_whatever_form_the_addition_has():
    def in_place(x, first, second):
        second += x
        return functional.relu(second)

    for join in (
        lambda x, first, second: second + x,
        lambda x, first, second: torch.add(x, second),
        lambda x, first, second: x.clone().add_(second),
        in_place,
        lambda x, first, second: functional.dropout(second, training=False) + x,
    ):
        assert traced(Block(join)).sums == {"second"}


def test_a_branch_that_something_else_uses_too_is_no_branch_of_a_sum():
    for join in (
        lambda x, first, second: torch.cat([second + x, second]),
        lambda x, first, second: functional.relu(second) + x,
        lambda x, first, second: (second + x, second),
        lambda x, first, second: second + x[:, :1],
        lambda x, first, second: torch.add(second, x, alpha=2),
        lambda x, first, second: second.relu_() + x,
        lambda x, first, second: second + second,
    ):
        assert traced(Block(join)).sums == set()


def test_an_input_that_changed_before_the_sum_cannot_be_used_there():
    def join(x, first, second):
        return x.mul_(2) + second

    assert traced(Block(join)).sums == set()


def test_a_norm_belongs_to_a_layer_that_nothing_else_uses():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) * x

    assert traced(Both()).norms == {}


def test_layers_that_hooks_change_are_noticed():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    model[1].register_forward_hook(lambda module, args, output: output * 2)
    assert traced(model).unlike == {"1"}


def test_runs_are_counted():
    conv = nn.Conv2d(4, 4, 1)
    trace = traced(nn.Sequential(conv, nn.ReLU(), conv))
    assert trace.runs["0"] == 2
