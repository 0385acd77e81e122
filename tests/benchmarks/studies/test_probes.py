from __future__ import annotations

import pytest
import torch

from foad_plugins.benchmarks.datasets import ImageData
from foad_plugins.benchmarks.models import FOADResNet
from foad_plugins.benchmarks.studies.probes import accuracies
from tests.helpers.seeds import SEED


@pytest.mark.parametrize("probes", [None, (0.5,)])
def test_a_network_is_pruned_to_each_share(probes: tuple[float, ...] | None) -> None:
    torch.manual_seed(SEED)
    base = FOADResNet(1).eval()
    images = torch.randn(96, 3, 32, 32)
    with torch.no_grad():
        # So that the classes differ.
        base.fc.bias -= base(images).mean(0)
        labels = base(images).argmax(1)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    found = accuracies(base, images, ImageData(images, labels, images, labels), probes, (0.95, 0.7))
    assert 100 >= found[0] >= found[1] > 0
    assert found[0] > 60
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
