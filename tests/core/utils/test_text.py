from __future__ import annotations

import pytest
from torch import nn

from foad_plugins.utils.layers import first_input, layer_width
from foad_plugins.utils.text import did_you_mean, enumerate_some


@pytest.mark.parametrize(
    ("items", "text"), [([], ""), (["a"], "a"), ("abc", "a, b, c"), (iter("abcde"), "a, b, c and 2 more")]
)
def test_some_items_and_the_number_of_the_others(items, text):
    assert enumerate_some(items, 3) == text


def test_close_names_are_offered():
    assert did_you_mean("conv11", ["conv1", "fc"]) == "; did you mean 'conv1'?"
    assert did_you_mean("zzz", ["conv1", "fc"]) == ""


@pytest.mark.parametrize(
    ("make", "widths"),
    [
        (lambda: nn.Conv2d(3, 8, 1), (3, 8)),
        (lambda: nn.ConvTranspose1d(3, 8, 1), (3, 8)),
        (lambda: nn.Linear(5, 2), (5, 2)),
        (lambda: nn.BatchNorm2d(4), (4, 4)),
        (lambda: nn.GroupNorm(2, 6), (6, 6)),
        (lambda: nn.ReLU(), (None, None)),
    ],
)
def test_widths_of_a_layer(make, widths):
    layer = make()
    assert (layer_width(layer, "input"), layer_width(layer, "output")) == widths


def test_the_first_input_by_position_or_by_name():
    assert first_input((1, 2), {"input": 3}) == 1
    assert first_input((), {"input": 3}) == 3
    assert first_input((), {}) is None
