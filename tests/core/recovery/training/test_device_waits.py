"""That the host does not wait for a GPU in the loops of recovery and refit."""

from __future__ import annotations

import copy

import torch
from torch import nn

from foad_plugins.calibration.data import Call
from foad_plugins.recovery.refitting.moments import Moments
from foad_plugins.recovery.training.augmentation import color_jitter, crop_and_flip
from foad_plugins.recovery.training.comparison import Comparison
from foad_plugins.recovery.training.distillation import output_loss
from tests.helpers.device_waits import device_waits


def test_the_helper_sees_what_makes_the_host_wait():
    values = torch.rand(4)
    assert device_waits(lambda: float(values[0])) == 1
    assert device_waits(lambda: bool((values > 2).any())) == 1
    assert device_waits(lambda: values[values > 0.5]) == 1
    assert device_waits(lambda: values[torch.tensor([0, 2])]) == 0


def test_a_step_of_recovery_does_not_wait():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    comparison = Comparison(copy.deepcopy(model), model, output_loss("auto"), feature_layers=("0",))
    images = torch.rand(6, 3, 8, 8)

    def step() -> None:
        random = torch.Generator().manual_seed(0)
        moved = color_jitter(crop_and_flip(images, random, 2), random)
        comparison.training_loss(Call((moved,), moved)).backward()

    assert device_waits(step) == 0


def test_products_of_a_refit_do_not_wait():
    moments = Moments(torch.zeros(1, 1, 4), torch.zeros(1, 1, 2))
    assert device_waits(lambda: moments.add(torch.rand(1, 50, 4), torch.rand(1, 50, 2))) == 0
