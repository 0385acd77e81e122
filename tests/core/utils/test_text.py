from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins import LayerWidth, flops_table
from foad_plugins.adapters.cli.entry import main
from foad_plugins.utils.layers import first_input, layer_width
from foad_plugins.utils.text import did_you_mean, enumerate_some, printable, printable_lines
from tests.helpers.reports import group, report


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layer1.0 größer", "layer1.0 größer"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\rb\nc\x07", "a\\rb\\nc\\x07"),
        ("a\u202eb\u2028", "a\\u202eb\\u2028"),
        ("\x9b2J", "\\x9b2J"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown
    assert printable_lines([text, "b"]) == f"{shown}\nb"


def test_names_with_control_characters_cannot_change_a_terminal():
    model = nn.Sequential()
    model.add_module("a\x1b[2Jb", nn.Conv2d(3, 4, 1))
    texts = [str(flops_table(model, torch.zeros(1, 3, 4, 4)))]
    name = "x\x1b]0;title\x07\ny"
    texts += [str(report(group(name), layers=(LayerWidth(name, 8, 5, 40, 25),), notes=(f"kept {name}",)))]
    for text in texts:
        assert "\\x1b" in text
        assert all(sign.isprintable() or sign == "\n" for sign in text)
        assert "\ny" not in text


def test_the_command_escapes_errors(capsys):
    assert main(["info", "no\x1b[2Jfile\x07"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("foad: ")
    assert printed.removesuffix("\n").isprintable()
