from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from foad_plugins.calibration.data import Call
from foad_plugins.cost.latency import measure_latency


class Sleeper(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        assert not self.training
        time.sleep(self.seconds)
        return self.norm(x)


@pytest.mark.parametrize("seconds", [0.01, 0.03])
def test_seconds_of_one_call(seconds):
    model = Sleeper(seconds).train()
    found = measure_latency(model, Call((torch.rand(2, 3),), None), min_seconds=0.05)
    assert seconds <= found < 3 * seconds
    assert model.training
    assert model.norm.num_batches_tracked == 0


def test_a_forward_function():
    called = []
    measure_latency(
        Sleeper(0.0), Call((), {"x": 1}), forward_fn=lambda model, item: called.append(item), min_seconds=0.001
    )
    assert called[0] == {"x": 1}
