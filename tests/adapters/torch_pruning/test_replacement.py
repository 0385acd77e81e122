"""With its input replaced, a network gives what the network without those channels gives after compensation."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from foad_plugins import Compensator
from foad_plugins.adapters.torch_pruning.consumers import find_consumers
from foad_plugins.adapters.torch_pruning.graph import build_graph, prunable_groups
from foad_plugins.adapters.torch_pruning.replacement import ConsumerGrams, GroupReplacement, replaced_inputs
from foad_plugins.calibration.collect import calibrate
from foad_plugins.calibration.data import CalibrationData
from tests.helpers.seeds import SEED, generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens, seeded_norms

IMAGES = torch.rand(48, 3, 8, 8, generator=generator())
OTHERS = torch.rand(48, 3, 8, 8, generator=generator(1))


class Twice(nn.Module):
    """One layer that consumes the same channels twice, once after an activation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.both = nn.Conv2d(12, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        return self.fc(self.both(torch.cat([x, functional.relu(x)], 1)).mean((2, 3)))


NETWORKS = {
    "chain": (Chain, IMAGES),
    "groups": (partial(Chain, groups=4), IMAGES),
    "residual": (Residual, IMAGES),
    "concat": (Concat, IMAGES),
    "tokens": (Tokens, torch.rand(48, 7, 6, generator=generator(2))),
    "twice": (Twice, IMAGES),
}


def prepared(name):
    torch.manual_seed(SEED)
    build, images = NETWORKS[name]
    return seeded_norms(build()).eval(), images


def grams_of(model, fitted, held_out):
    graph = build_graph(model, CalibrationData(fitted).first(images=1))
    groups = [group for group in prunable_groups(graph, []) if not group.is_output]
    consumers = find_consumers(groups)
    sets = [consumer.channel_set for consumer in consumers]
    grams = [calibrate(model, CalibrationData(images), [], sets)[1] for images in (fitted, held_out)]
    return groups, ConsumerGrams(consumers, *grams)


@pytest.mark.parametrize("method", ["least_squares", "representative"])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_replaced_inputs_give_what_compensation_gives(name, method):
    model, images = prepared(name)
    groups, grams = grams_of(model, images, images)
    assert groups
    for group in (group for group in groups if group.verifiable):
        channels = group.root_indices(range(group.channels_per_group // 2))
        replacements, _ = GroupReplacement(group, grams, method).at(channels)
        with replaced_inputs(replacements):
            expected = model(images)
        pruned = copy.deepcopy(model)
        compensator = Compensator(pruned, images, method)
        graph = build_graph(pruned, CalibrationData(images).first(images=1))
        root = pruned.get_submodule(group.name)
        cut = graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, channels)
        compensator(cut)
        cut.prune()
        torch.testing.assert_close(pruned(images), expected, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(expected, model(images), atol=1e-4)


@torch.no_grad()
def test_without_compensation_the_channels_are_zero():
    model, images = prepared("chain")
    groups, grams = grams_of(model, images, images)
    first = next(group for group in groups if group.name == "conv1")
    replacements, _ = GroupReplacement(first, grams, None).at([0, 3])
    with replaced_inputs(replacements):
        zeroed = model(images)
    with torch.no_grad():
        model.conv2.weight[:, [0, 3]] = 0
    torch.testing.assert_close(zeroed, model(images))


@torch.no_grad()
def test_the_local_error_is_that_of_the_consumer_on_other_images():
    model, _ = prepared("concat")
    groups, grams = grams_of(model, IMAGES, OTHERS)
    group = next(group for group in groups if group.name == "left")
    replacements, error = GroupReplacement(group, grams, "least_squares").at([0, 2, 5])
    maps = []
    with model.join.register_forward_hook(lambda layer, args, output: maps.append(output)):
        model(OTHERS)
        with replaced_inputs(replacements):
            model(OTHERS)
    bias = model.join.bias[:, None, None]
    expected = (maps[1] - maps[0]).square().mean() / (maps[0] - bias).square().mean()
    assert error == pytest.approx(float(expected), rel=1e-3)


@torch.no_grad()
def test_channels_that_no_fitted_layer_consumes_are_zeroed():
    model, images = prepared("chain")
    groups, _ = grams_of(model, images, images)
    first = next(group for group in groups if group.name == "conv1")
    unfitted = ConsumerGrams([], [], [])
    replacements, error = GroupReplacement(first, unfitted, "least_squares").at([1])
    assert error is None
    with replaced_inputs(replacements):
        zeroed = model(images)
    model.conv2.weight[:, 1] = 0
    torch.testing.assert_close(zeroed, model(images))


def test_no_hook_is_left():
    model, images = prepared("chain")
    groups, grams = grams_of(model, images, images)
    replacements, _ = GroupReplacement(groups[0], grams, "least_squares").at([0])
    with pytest.raises(KeyError), replaced_inputs(replacements):
        raise KeyError
    assert not any(module._forward_pre_hooks for module in model.modules())
