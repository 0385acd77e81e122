from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from foad_plugins.calibration.fingerprint import ModelFingerprint


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(4, 2)))


def changed(model: nn.Module, how: str) -> None:
    with torch.no_grad():
        if how == "weight":
            model[0].weight.mul_(2)
        elif how == "data":
            model[2][0].weight.data.add_(1)
        elif how == "buffer":
            model[1].running_mean.add_(1)
        elif how == "parameter":
            model[0].weight = nn.Parameter(model[0].weight.clone())
        elif how == "layer":
            model[2][0] = nn.Linear(4, 2)
        else:
            model.append(nn.Linear(2, 2))


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.float32, torch.float64, torch.complex128]
)
def test_changes_past_the_version_are_found_in_every_dtype(dtype):
    model = network()
    model.register_buffer("counts", torch.zeros(2, 2, dtype=dtype).T)
    fingerprint = ModelFingerprint(model)
    assert fingerprint.matches(model)
    model.counts.data.fill_(1)
    assert not fingerprint.matches(model)


def test_other_memory_under_the_same_tensor_is_found_and_not_kept():
    model = network()
    fingerprint = ModelFingerprint(model)
    old = weakref.ref(model[0].weight.data.untyped_storage())
    model[0].weight.data = model[0].weight.data + 1
    assert old() is None
    assert not fingerprint.matches(model)


@pytest.mark.parametrize("how", ["weight", "data", "buffer", "parameter", "layer", "one more layer"])
def test_changes_are_found(how):
    model = network()
    fingerprint = ModelFingerprint(model)
    assert fingerprint.matches(model)
    changed(model, how)
    assert not fingerprint.matches(model)


def test_another_model_with_equal_weights_is_another():
    model, copy = network(), network()
    copy.load_state_dict(model.state_dict())
    assert not ModelFingerprint(model).matches(copy)


def test_nan_empty_and_shared_tensors():
    model = network()
    model[0].bias.data.fill_(float("nan"))
    model[0].register_buffer("nothing", torch.empty(0))
    model[2][0].register_buffer("shared", model[1].running_mean)
    assert ModelFingerprint(model).matches(model)


def test_no_tensor_is_kept_alive():
    model = network()
    fingerprint = ModelFingerprint(model)
    weight = weakref.ref(model[0].weight)
    del model
    gc.collect()
    assert weight() is None
    assert not fingerprint.matches(network())
