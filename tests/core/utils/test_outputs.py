from __future__ import annotations

from collections import UserDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import nn

from foad_plugins.utils.outputs import output_tensors

ONE, TWO, THREE = (torch.tensor([float(number)]) for number in range(3))
Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Held:
    first: object
    second: object = None


class Slotted:
    __slots__ = ("value",)


def values(output):
    return [int(tensor) for tensor in output_tensors(output)]


def test_whatever_holds_them():
    for output in (
        [ONE, TWO],
        (ONE, [TWO, None, "text", 3]),
        {"a": ONE, "b": {"c": TWO}},
        UserDict(a=ONE, b=TWO),
        Pair(ONE, TWO),
        Held(ONE, Held(TWO)),
        SimpleNamespace(a=ONE, b=[Held(TWO)]),
        Held({"deep": [SimpleNamespace(er=UserDict(still=(ONE,)))]}, TWO),
    ):
        assert values(output) == [0, 1]


def test_a_tensor_is_itself_and_nothing_is_nothing():
    assert output_tensors(ONE)[0] is ONE
    for output in (None, "done", 3, [], Slotted(), Held, Held(None), nn.Linear(1, 1), len):
        assert output_tensors(output) == []


def test_as_often_as_it_is_there_and_in_order():
    assert values([TWO, Held(THREE, TWO)]) == [1, 2, 1]


def test_circles_end():
    ring = SimpleNamespace(value=ONE)
    ring.ring = [ring]
    assert values(ring) == [0]
    assert values([ring, ring]) == [0, 0]
