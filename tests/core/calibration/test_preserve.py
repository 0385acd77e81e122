from __future__ import annotations

import os
import random
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from foad_plugins.calibration.fingerprint import ModelFingerprint
from foad_plugins.calibration.preserve import preserve_state
from tests.helpers.state_fingerprint import trace


class _Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))
        self.register_buffer("none", None)

    def forward(self, x):
        self.calls += 1
        self.last = x.detach()[0, :2].clone()
        return x


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), _Counting())
    model[2].eval()
    return model


@pytest.mark.parametrize("fail", [False, True])
def test_nothing_is_left_behind(fail):
    model = network()
    model[0].register_forward_hook(lambda *_: None)
    before = trace(model)

    def disturb():
        with preserve_state(model):
            assert not any(module.training for module in model.modules())
            model[1].train()
            model(torch.rand(8, 4))
            random.random()
            np.random.rand()
            if fail:
                raise RuntimeError("in the middle")

    if fail:
        with pytest.raises(RuntimeError, match="in the middle"):
            disturb()
    else:
        disturb()
    assert trace(model) == before


def test_a_buffer_of_nan_is_not_written_to():
    model = network()
    model.register_buffer("unset", torch.full((2,), float("nan")))
    with preserve_state(model):
        pass
    assert model.unset._version == 0
    with preserve_state(model):
        model.unset[0] = 1.0
    assert model.unset.isnan().all()


def test_random_layers_give_the_same_each_time():
    model = network()
    draws = []
    for _ in range(2):
        with preserve_state(model):
            draws.append((torch.rand(3).tolist(), random.random(), np.random.rand()))
        torch.rand(1)
    assert draws[0] == draws[1]


def _scaled(model):
    model[0].weight.data.mul_(2)


def _updated(model):
    with torch.no_grad():
        model[1].bias[1] += 1


def _replaced(model):
    model[0].weight = nn.Parameter(model[0].weight.detach().clone())


@pytest.mark.parametrize("change", [_scaled, _updated, _replaced])
def test_a_fingerprint_matches_until_a_tensor_changes(change):
    model = network()[:3]
    model[1].running_mean[0] = float("nan")
    fingerprint = ModelFingerprint(model)
    with preserve_state(model):
        model(torch.rand(3, 4))
    assert fingerprint.matches(model)
    assert not fingerprint.matches(network())
    change(model)
    assert not fingerprint.matches(model)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_another_thread_measures_can_measure():
    inside, leave = threading.Event(), threading.Event()

    def measure():
        with preserve_state(nn.Linear(2, 2)):
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=measure)
    thread.start()
    assert inside.wait(60)
    with warnings.catch_warnings():
        # Python warns of forks of a process with threads.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        with preserve_state(nn.Linear(2, 2)):
            os._exit(7)
    end = time.monotonic() + 30
    done, status = 0, 0
    while not done and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not done:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    leave.set()
    thread.join()
    assert done
    assert os.waitstatus_to_exitcode(status) == 7
