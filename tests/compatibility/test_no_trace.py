from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("nni")

from foad_plugins import FOADImportance, FOADPruner, count_flops, prune
from foad_plugins.calibration.collect import calibrate
from foad_plugins.calibration.data import CalibrationData
from foad_plugins.calibration.observers import ChannelSet, HookPoint
from foad_plugins.cost.latency import measure_latency
from tests.helpers.seeds import SEED, generator

from ..helpers.state_fingerprint import Fault, StrikesAt, points_of, trace
from ..networks.small_networks import Chain, Concat, Residual, seeded_norms

pytestmark = pytest.mark.filterwarnings("ignore::foad_plugins.utils.warnings.InsufficientDataWarning")

IMAGES = torch.rand(4, 3, 8, 8, generator=generator())
CONFIG = [{"op_types": ["Conv2d"], "sparse_ratio": 0.5}]


def trained(network: type[nn.Module] = Chain) -> nn.Module:
    """A model in the middle of a training: gradients, frozen parts, flags of both kinds, a hook of the user's."""
    torch.manual_seed(SEED)
    model = seeded_norms(network()).train()
    model(IMAGES).sum().backward()
    first, *_, last = model.children()
    last.requires_grad_(False)
    first.eval()
    first.register_forward_hook(lambda *_: None)
    random.seed(5)
    np.random.seed(6)
    return model


def core(model):
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    reads = [ChannelSet(name, layer.in_channels, (HookPoint(layer, "input"),)) for name, layer in layers]
    return lambda: calibrate(model, CalibrationData(list(IMAGES.split(2))), reads, reads)


def calibration(model):
    return lambda: FOADImportance(list(IMAGES.split(2)), order="reconstruction").calibrate(model)


def torch_pruning_scores(model):
    pruner = tp.pruner.MetaPruner(model, (IMAGES,), importance=FOADImportance(), pruning_ratio=0.5)

    def score():
        pruner.current_step, pruner.importance = 0, FOADImportance(IMAGES)
        return list(pruner.step(interactive=True))

    return score


def flops(model):
    return lambda: count_flops(model, (IMAGES[:1],))


def latency(model):
    return lambda: measure_latency(model, CalibrationData(IMAGES).first(), min_seconds=0.001)


def pruning(model):
    return lambda: prune(model, IMAGES, flops=0.5, compensate="least_squares", measure_latency=False)


MEASUREMENTS = [core, calibration, torch_pruning_scores, flops, latency]


@pytest.mark.parametrize("network", [Chain, Residual, Concat])
@pytest.mark.parametrize("host", MEASUREMENTS)
def test_a_measurement_leaves_no_trace(host, network):
    model = trained(network)
    run = host(model)
    before = trace(model)
    run()
    assert trace(model) == before


@pytest.mark.parametrize("host", [*MEASUREMENTS, pruning])
def test_a_fault_at_any_point_leaves_no_trace(host):
    points = points_of(host(trained(Residual)))
    assert points > 10
    if host is latency:
        # It repeats calls until its time is over: the first two calls are made however busy the machine is.
        points = min(points // 4, 20)
    model = trained(Residual)
    run = host(model)
    before = trace(model)
    for point in [*range(0, points, points // 20 + 1), points - 1]:
        with pytest.raises(Fault), StrikesAt(point):
            run()
        assert trace(model) == before, point


def test_a_fault_in_the_last_measurement_undoes_the_pruning(monkeypatch):
    model = trained(Residual)
    before, answers = trace(model), iter([0.1])

    def measured(*args, **kwargs):
        for seconds in answers:
            return seconds
        raise Fault("while the pruned network is timed")

    monkeypatch.setattr("foad_plugins.adapters.prune.api.measure_latency", measured)
    with pytest.raises(Fault):
        prune(model, IMAGES, flops=0.5)
    assert trace(model) == before


@pytest.mark.parametrize("network", [Chain, Residual])
def test_an_nni_pruner_leaves_what_nni_itself_leaves(network):
    from nni.compression.pruning import L1NormPruner

    traces = []
    for kind, options in ((FOADPruner, {"data": IMAGES}), (L1NormPruner, {})):
        model = trained(network)
        before = trace(model)
        pruner = kind(model, CONFIG, **options)
        pruner.compress()
        pruner.unwrap_model()
        after = trace(model)
        traces.append({name for name in before if after[name] != before[name]})
    assert traces[0] <= traces[1]


def test_a_fault_while_an_nni_pruner_is_made_leaves_no_trace():
    loader = DataLoader(TensorDataset(IMAGES, torch.zeros(len(IMAGES))), batch_size=2, shuffle=True)
    model, other = trained(), trained()
    points = points_of(lambda: FOADPruner(other, CONFIG, data=loader))
    before = trace(model)
    for point in [*range(0, points, points // 20 + 1), *range(points - 20, points)]:
        # NNI's tracer tells its failures in an error of its own, whatever they are.
        with pytest.raises((Fault, ValueError)), StrikesAt(point):
            FOADPruner(model, CONFIG, data=loader)
        assert trace(model) == before, point


def test_an_nni_pruner_that_is_made_draws_no_random_numbers():
    loader = DataLoader(TensorDataset(IMAGES, torch.zeros(len(IMAGES))), batch_size=2, shuffle=True)
    model = trained()
    before = trace(model)["random"]
    FOADPruner(model, CONFIG, data=loader).compress()
    assert trace(model)["random"] == before


def test_a_fault_in_an_nni_pruner_leaves_a_model_that_unwraps():
    from nni.compression.pruning import L1NormPruner

    model = trained()
    unwrapped = trace(model)
    other = L1NormPruner(model, CONFIG)
    other.compress()
    other.unwrap_model()
    theirs = {name for name, value in trace(model).items() if value != unwrapped[name]}
    points = points_of(FOADPruner(trained(), CONFIG, data=IMAGES).compress)
    for point in range(0, points, points // 20 + 1):
        model = trained()
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        flags, before = [module.training for module in model.modules()], trace(model)
        pruner = FOADPruner(model, CONFIG, data=IMAGES)
        with pytest.raises(Fault), StrikesAt(point):
            pruner.compress()
        pruner.unwrap_model()
        assert [module.training for module in model.modules()] == flags
        assert {name: value.tolist() for name, value in model.state_dict().items()} == {
            name: value.tolist() for name, value in weights.items()
        }
        assert {name for name, value in trace(model).items() if value != before[name]} <= theirs, point
