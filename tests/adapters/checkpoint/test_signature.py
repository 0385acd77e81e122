from __future__ import annotations

import json
from collections import namedtuple

import pytest
import torch

from foad_plugins.adapters.checkpoint.history import Signature, signature_of
from foad_plugins.calibration.data import Call

NOTHING = {"args": {"tuple": []}, "kwargs": {"dict": {}}, "item": {"value": None}}


def test_inputs_are_made_again_in_the_same_form():
    image = torch.rand(1, 3, 4, 4, dtype=torch.bfloat16)
    mask = torch.ones(1, 5, dtype=torch.bool)
    batch = {"pixels": image, "extra": [mask, 2, None, "text", True, 0.5], "ids": (torch.ones(2, dtype=torch.int64),)}
    call = Call((image, [mask]), batch, {"scale": 3, "flag": False})
    signature = signature_of(call)
    signature = Signature(**json.loads(json.dumps(vars(signature))))
    made = signature.make(None, item=False)
    assert made.args[0].shape == image.shape
    assert made.args[0].dtype == torch.bfloat16
    assert (made.args[0] != 0).any()
    assert isinstance(made.args[1], list)
    assert made.args[1][0].dtype == torch.bool
    assert not made.args[1][0].any()
    assert made.kwargs == {"scale": 3, "flag": False}
    item = signature.make(None, item=True).batch
    assert signature_of(Call((), item)).item == signature.item
    assert item["extra"][1:] == batch["extra"][1:]


def test_always_the_same_and_no_trace_in_the_generator():
    signature = signature_of(Call((torch.rand(2, 3),), None))
    state = torch.get_rng_state()
    first, second = (signature.make(None, item=False).args[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_complex_inputs():
    made = signature_of(Call((torch.rand(2, dtype=torch.complex64),), None)).make(None, item=False)
    assert made.args[0].dtype == torch.complex64


@pytest.mark.parametrize("value", [namedtuple("Boxes", "a")(1), object(), {1: 2}, float("nan")])
def test_what_cannot_be_made_again_is_an_error_only_when_asked_for(value):
    signature = signature_of(Call((torch.rand(1),), value))
    signature.make(None, item=False)
    with pytest.raises(ValueError, match=f"hold a {type(value).__name__}, .* pass example_inputs"):
        signature.make(None, item=True)


@pytest.mark.parametrize(
    "item",
    [
        None,
        3,
        {},
        {"value": [1]},
        {"value": 1, "more": 2},
        {"tensor": "float32"},
        {"tensor": "float33", "shape": [1]},
        {"tensor": "nn", "shape": [1]},
        {"tensor": "float32", "shape": [-1]},
        {"tensor": "float32", "shape": [True]},
        {"tensor": "float32", "shape": [1.0]},
        {"list": {"value": 1}},
        {"tuple": [{"list": [3]}]},
        {"dict": {"a": 1}},
        {"dict": {1: {"value": 1}}},
        {"other": 3},
    ],
)
def test_other_forms_are_refused(item):
    with pytest.raises(ValueError, match="input"):
        Signature(**{**NOTHING, "item": item})


def test_arguments_are_a_tuple_and_a_dict():
    Signature(**NOTHING)
    for field in ("args", "kwargs"):
        with pytest.raises(ValueError, match="tuple of positional"):
            Signature(**{**NOTHING, field: {"list": []}})
