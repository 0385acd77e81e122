from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from foad_plugins import FOADImportance, count_flops, count_params, prune
from foad_plugins.calibration.data import Call
from foad_plugins.calibration.preflight import check_forward, describe_inputs
from tests.helpers.seeds import generator
from tests.helpers.state_fingerprint import trace
from tests.networks.small_networks import Chain, seeded_norms

IMAGES = torch.rand(4, 3, 8, 8, generator=generator())
HOSTS = {
    "by the rule": prune,
    "to a target": lambda model, data: prune(model, data, flops=0.5),
    "calibrated": lambda model, data: FOADImportance().calibrate(model, data),
}
RUNS_NOT = "data: the model does not run on the calibration data"


class _Once:
    """A loader that gives its batches once and is no iterator."""

    def __init__(self):
        self._batches = list(IMAGES.split(2))

    def __iter__(self):
        batches, self._batches = self._batches, []
        return iter(batches)


@pytest.mark.parametrize("host", ["by the rule", "to a target"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (IMAGES[:, :1], rf"{RUNS_NOT} \(float32 \(1, 1, 8, 8\)\): RuntimeError: .* to have 3 channels"),
        (torch.zeros(2, 3, 16, 16), rf"{RUNS_NOT} \(float32 \(1, 3, 16, 16\)\): RuntimeError: "),
        (torch.zeros(2, 3, 1, 1), RUNS_NOT),
        (torch.zeros(2, 3, 8, 8, dtype=torch.long), rf"{RUNS_NOT} \(int64 "),
        ({"y": IMAGES}, rf"{RUNS_NOT} \(y: float32 \(1, 3, 8, 8\)\): TypeError: .*'y'"),
        (IMAGES[0], "without a batch dimension: give calibration images as"),
    ],
)
def test_images_that_the_model_does_not_take(host, data, message):
    refused(host, seeded_norms(Chain()), data, message)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataLoader(TensorDataset(IMAGES[:0])), "gave no batch: the loader is empty"),
        (_Once(), "gave no batch: .* or was read before and gives batches only once"),
    ],
)
def test_loaders_that_give_nothing(host, data, message):
    refused(host, Chain(), data, message)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ["conv1.weight", "norm1.running_var", "fc.bias"])
def test_models_that_are_not_finite(host, name):
    model = seeded_norms(Chain())
    model.state_dict()[name].view(-1)[0] = float("nan")
    refused(host, model, IMAGES, f"NaN.*; there is NaN or Inf in the model's own '{name}'")


@pytest.mark.parametrize("host", HOSTS)
def test_models_without_layers_to_prune(host):
    refused(host, nn.Sequential(nn.Flatten(), nn.ReLU()), IMAGES, "no convolution or linear layer whose channels")


def refused(host, model, data, message):
    model.train()
    before = trace(model)
    with pytest.raises(ValueError, match=message):
        HOSTS[host](model, data)
    assert trace(model) == before


@pytest.mark.parametrize(
    "use", [*HOSTS.values(), count_flops, lambda model, data: count_params(model)], ids=[*HOSTS, "flops", "params"]
)
def test_what_is_no_model(use):
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got function"):
        use(lambda x: x, IMAGES)
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got the class Chain: make one"):
        use(Chain, IMAGES)


def test_flops_of_a_model_without_data():
    with pytest.raises(ValueError, match="on the meta device"):
        count_flops(Chain().to("meta"), IMAGES)


def test_a_forward_function_that_fails():
    with pytest.raises(
        ValueError, match=r"data: forward_fn fails on the first .* \(float32 \(2,\), str\): KeyError: 'x'"
    ):
        check_forward(Chain(), Call((), (torch.zeros(2), "a")), lambda model, batch: {}["x"])
    check_forward(Chain().train(), Call((), IMAGES), lambda model, batch: model(batch))


def test_an_interrupt_is_no_fault_of_the_data():
    def interrupted(model, batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_forward(Chain(), Call((), IMAGES), interrupted)


def test_in_few_words():
    assert describe_inputs(()) == describe_inputs({}) == "nothing"
    assert (
        describe_inputs([torch.zeros(2, 3), {"a": torch.zeros((), dtype=torch.bool)}]) == "float32 (2, 3), a: bool ()"
    )
