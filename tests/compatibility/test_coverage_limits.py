"""Where Torch-Pruning 1.6.1 itself fails, with its own importance: when one of these fails, it has mended something."""

from __future__ import annotations

import multiprocessing
import resource
import warnings

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import prune
from tests.compatibility.test_coverage import IMAGES, SERIES, by_pruner
from tests.helpers.seeds import SEED
from tests.networks.user_networks import Two, YoloC2f, chain

FAILURES = (RuntimeError, ValueError, IndexError, ZeroDivisionError, AttributeError, TypeError)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 3)
        self.recurrent = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.recurrent(self.first(x).relu().transpose(1, 2))[0][:, -1])


class Multiplied(Two):
    """A depthwise layer that makes two channels of each."""

    def __init__(self):
        super().__init__()
        self.multiplier = nn.Conv2d(8, 16, 3, groups=8)
        self.second = nn.Conv2d(16, 12, 3)

    def maps(self, x):
        return self.second(self.multiplier(self.first(x)).relu()).relu()


class Standardised(Two):
    """A weight that the layer standardises itself, as in NFNets by a batch norm over it."""

    class _Layer(nn.Conv2d):
        def forward(self, x):
            count = len(self.weight)
            weight = nn.functional.batch_norm(
                self.weight.reshape(1, count, -1), None, None, self.gain, training=True
            ).reshape_as(self.weight)
            return nn.functional.conv2d(x, weight, self.bias)

    def __init__(self):
        super().__init__()
        self.first = self._Layer(3, 8, 3)
        self.first.gain = nn.Parameter(torch.ones(8))


NETWORKS = {
    "yolo c2f": (YoloC2f, IMAGES),
    "lstm": (Recurrent, SERIES),
    "depthwise multiplier": (Multiplied, IMAGES),
    "standardised weight": (Standardised, IMAGES),
    "tracked instance norm": (lambda: chain(nn.InstanceNorm2d(16, track_running_stats=True)), IMAGES),
}


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_break(name):
    make, data = NETWORKS[name]
    model = make().eval()

    def prune_and_run():
        by_pruner(model, data, tp.importance.MagnitudeImportance(p=1))
        model(data)

    with pytest.raises(FAILURES):
        prune_and_run()


@pytest.mark.parametrize("name", ["yolo c2f", "standardised weight", "tracked instance norm"])
def test_the_error_of_prune_names_the_layers_to_ignore(name):
    make, data = NETWORKS[name]
    model = make().eval()
    with pytest.raises(RuntimeError, match=r"group of layer '([\w.]+)'.*name th.* in ignored_layers") as caught:
        prune(model, data, pruning_ratio=0.3, order="rounds", on_wrong_removal="error")
    named = str(caught.value).split("group of layer '")[1].split("'")[0]
    report = prune(model, data, pruning_ratio=0.3, order="rounds", ignored_layers=[named], measure_latency=False)
    assert report.params_after < report.params_before
    assert model(data).isfinite().all()


def test_depthwise_multipliers_lose_the_same_for_every_input():
    model = Multiplied().eval()
    report = prune(model, IMAGES, pruning_ratio=0.5, order="rounds", measure_latency=False)
    assert (model.first.out_channels, model.multiplier.out_channels, model.second.in_channels) == (8, 8, 8)
    assert {group.name: group.channel_groups for group in report.groups}["multiplier"] == 8
    assert model(IMAGES).shape == (12, 4)


def tracked(name, size):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(SEED)
    return torchvision.models.get_model(name, num_classes=10).eval(), torch.rand(2, 3, size, size)


def at_ratio(model, images, importance):
    heads = [layer for layer in model.modules() if getattr(layer, "out_features", 0) == 10]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch_pruning")
        fresh = {"in_channel_groups": {}, "out_channel_groups": {}, "num_heads": {}}
        tp.pruner.MetaPruner(
            model, (images[:1],), importance=importance, pruning_ratio=0.3, ignored_layers=heads, **fresh
        ).step()
    model(images)


@pytest.mark.parametrize("name", [f"shufflenet_v2_x{width}" for width in ("1_0", "1_5", "2_0")])
def test_shufflenets(name):
    model, images = tracked(name, 64)
    with pytest.raises(ZeroDivisionError):
        at_ratio(model, images, tp.importance.MagnitudeImportance(p=1))
    report = prune(
        model, images, pruning_ratio=0.3, measure_latency=False, order="rounds", ranking="local", compensate=None
    )
    assert report.params_after < report.params_before
    assert model(images).shape == (2, 10)


def _swin(connection):
    # In a process of its own: Torch-Pruning fills the memory with indices.
    most = 6 * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    model, images = tracked("swin_t", 32)
    try:
        at_ratio(model, images, tp.importance.MagnitudeImportance(p=1))
        connection.send("pruned")
    except MemoryError:
        connection.send("memory")


@pytest.mark.slow
@pytest.mark.skip(reason="takes 6 GiB and minutes: run it by hand, without this mark, when Torch-Pruning has changed")
def test_swin_takes_all_memory():
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_swin, args=(there,))
    process.start()
    assert here.recv() == "memory"
    process.join()
