"""Exact mode equals what the authors' published code keeps, list for list."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp

from foad_plugins import FOADImportance, channel_similarity, greedy_select
from foad_plugins.benchmarks.models.foad_resnet import FOADResNet
from foad_plugins.calibration.collect import calibrate
from foad_plugins.calibration.data import CalibrationData
from foad_plugins.calibration.observers import ChannelSet, HookPoint


@pytest.fixture(scope="module")
def model(resnet56_weights):
    model = FOADResNet()
    model.load_state_dict(resnet56_weights)
    return model.eval()


def images_of(case, cifar):
    start, stop = map(int, case["images"].removeprefix("train[").removesuffix("]").split(":"))
    return cifar[start:stop]


@pytest.mark.usefixtures("either_sums")
def test_synthetic_maps(reference):
    assert len(reference["synthetic"]) == 4
    for case in reference["synthetic"]:
        generator = torch.Generator().manual_seed(case["seed"])
        features = torch.randn(case["n"], case["c"], case["h"], case["h"], generator=generator).relu()
        features[:, case["dead"]] = 0
        for original, copy in case["dup"]:
            features[:, copy] = features[:, original]
        selection = greedy_select(channel_similarity(features), case["t"], case["s"])
        assert list(selection.kept) == case["kept"]


@pytest.mark.usefixtures("either_sums")
@pytest.mark.parametrize("number", range(5))
def test_raw_maps_of_resnet56(reference, cifar, model, number):
    case = reference["resnet56"][number]
    assert len(case["kept"]) == 28
    reads = []
    for name in case["kept"]:
        block = model.features.C1 if name == "conv1" else model.features.get_submodule(name).baseNet
        reads.append(ChannelSet(name, block[0].out_channels, (HookPoint(block[2], "output"),)))
    found, _ = calibrate(model, CalibrationData(images_of(case, cifar)), reads)
    for read, statistics in zip(reads, found, strict=True):
        assert list(greedy_select(statistics.compute(), case["t"], case["s"]).kept) == case["kept"][read.name]


@pytest.mark.parametrize("number", range(5))
def test_block_internal_layers_through_torch_pruning(reference, cifar, model, number):
    case = reference["resnet56"][number]
    images = images_of(case, cifar)
    importance = FOADImportance(images, neighbors=case["t"], threshold=case["s"])
    graph = tp.DependencyGraph().build_dependency(model, (images[:1],))
    inner = {name: kept for name, kept in case["kept"].items() if name != "conv1"}
    assert len(inner) == 27
    for name, kept in inner.items():
        layer = model.features.get_submodule(name).baseNet[0]
        group = graph.get_pruning_group(layer, tp.prune_conv_out_channels, list(range(layer.out_channels)))
        selection = importance.selection(group)
        assert list(selection.kept) == kept
        first = importance(group).argsort()[: len(selection.removed)]
        assert sorted(first.tolist()) == list(selection.removed)
