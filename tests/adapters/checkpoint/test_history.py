from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

from foad_plugins.adapters.checkpoint.history import (
    PruningHistory,
    Removal,
    TensorSpec,
    attach,
    describe,
    history_of,
    remember,
)
from foad_plugins.calibration.data import Call
from tests.helpers.saved import pruned
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, seeded_norms

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())
CALL = Call((IMAGES[:1],), IMAGES)


def history():
    return history_of(pruned(seeded_norms(Chain()), IMAGES))


def as_json(value):
    return json.loads(json.dumps(value.to_json()))


def test_a_description_has_parameters_and_persistent_buffers():
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).bfloat16()
    model.register_buffer("fleeting", torch.zeros(2), persistent=False)
    specs = {spec.name: (spec.shape, spec.dtype) for spec in describe(model)}
    assert list(specs) == list(model.state_dict())
    assert specs["0.weight"] == ((4, 3, 1, 1), "bfloat16")
    assert specs["1.num_batches_tracked"] == ((), "int64")


def test_pruning_is_noted_and_stays_with_the_model():
    model = seeded_norms(Chain())
    names, before = list(model.state_dict()), describe(model)
    assert history_of(model) is None
    pruned(model, IMAGES)
    noted = history_of(model)
    assert noted.original == before
    assert noted.pruned == describe(model)
    removed = {removal.layer: len(removal.channels) for removal in noted.steps[0]}
    assert removed == {"conv1": 8 - model.conv1.out_channels, "conv2": 12 - model.conv2.out_channels}
    assert list(model.state_dict()) == names
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()(IMAGES).sum().backward()
    optimizer.step()
    assert history_of(copy.deepcopy(model)) == history_of(model.bfloat16()) == noted


def test_a_second_step_is_appended():
    model = pruned(seeded_norms(Chain()), IMAGES)
    first = history_of(model)
    pruned(model, IMAGES, neighbors=2)
    second = history_of(model)
    assert second.original == first.original
    assert second.example == first.example
    assert second.steps[:1] == first.steps
    assert len(second.steps) == 2
    assert second.pruned == describe(model)


def test_a_step_without_removals_is_none():
    model = Chain()
    remember(model, describe(model), CALL, [])
    assert history_of(model).steps == ()
    pruned(model, IMAGES)
    noted = history_of(model)
    assert len(noted.steps) == 1
    remember(model, describe(model), CALL, [])
    assert history_of(model) == noted


def test_no_step_is_appended_behind_a_change_that_was_not_noted():
    model = pruned(seeded_norms(Chain()), IMAGES)
    noted = history_of(model)
    model.fc = nn.Linear(model.fc.in_features, 7)
    remember(model, describe(model), CALL, [Removal("conv1", "out", (0,))])
    assert history_of(model) == noted


def test_other_attributes_of_the_name_are_no_history():
    model = Chain()
    model._foad_history = "mine"
    assert history_of(model) is None


def test_json_and_back():
    noted = history()
    again = PruningHistory.from_json(as_json(noted))
    assert again == noted
    assert type(again.steps[0][0].channels) is tuple
    model = Chain()
    attach(model, again)
    assert history_of(model) is again


def _changed(path, value):
    """The JSON of a history with one place in it changed."""
    whole = place = as_json(history())
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["more"], 1),
        (["steps"], KeyError),
        (["steps"], None),
        (["steps"], "ab"),
        (["steps", 0], {}),
        (["steps", 0, 0], [1]),
        (["steps", 0, 0, "more"], 1),
        (["steps", 0, 0, "side"], KeyError),
        (["steps", 0, 0, "side"], "both"),
        (["steps", 0, 0, "layer"], 3),
        (["steps", 0, 0, "channels"], 3),
        (["steps", 0, 0, "channels"], [-1]),
        (["steps", 0, 0, "channels"], [1, 2, 1]),
        (["steps", 0, 0, "channels"], [True]),
        (["steps", 0, 0, "channels"], [1.0]),
        (["steps", 0, 0, "channels"], ["1"]),
        (["steps", 0, 0, "channels"], "12"),
        (["original"], {}),
        (["original", 0], None),
        (["original", 0, "name"], None),
        (["original", 0, "shape"], [-1]),
        (["original", 0, "shape"], 3),
        (["original", 0, "dtype"], "float33"),
        (["original", 0, "dtype"], ["float32"]),
        (["pruned", 0, "dtype"], "nn"),
        (["example"], None),
        (["example", "item"], KeyError),
        (["example", "args"], {"list": []}),
    ],
)
def test_strict_json(path, value):
    with pytest.raises(ValueError, match=r"."):
        PruningHistory.from_json(_changed(path, value))


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_json_of_another_kind(value):
    with pytest.raises(ValueError, match="a PruningHistory has"):
        PruningHistory.from_json(value)


def test_messages_say_what_is_wrong():
    with pytest.raises(ValueError, match="removed twice at 'conv1'"):
        Removal("conv1", "out", (1, 1))
    with pytest.raises(ValueError, match="'conv1' must be whole numbers, 0 or more"):
        Removal("conv1", "out", (1, -1))
    with pytest.raises(ValueError, match="dtype 'float33'"):
        TensorSpec("a", (1,), "float33")
