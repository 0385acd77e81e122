from __future__ import annotations

import torch

from foad_plugins.benchmarks.criteria import CriterionSpec
from foad_plugins.benchmarks.datasets import ImageData
from foad_plugins.benchmarks.models import FOADResNet
from foad_plugins.benchmarks.studies.compensation import accuracies


def test_the_stages_of_one_criterion() -> None:
    """Every inner channel is there twice, so that least squares loses nothing, and changes no statistic."""
    base = FOADResNet(1).eval()
    for name, block in base.features.named_children():
        if name != "C1":
            first, norm, _, second, _ = block.baseNet
            half = first.out_channels // 2
            first.weight.data[half:] = first.weight.data[:half]
            norm.running_mean.normal_(std=0.1)
            norm.running_mean[half:] = norm.running_mean[:half]
            second.weight.data[:, 0] *= 3
    images = torch.randn(64, 3, 32, 32)
    with torch.no_grad():
        # So that the network does not give one class for all.
        base.fc.bias -= base(images).mean(0)
        labels = base(images).argmax(1)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    spec = CriterionSpec(name="foad", settings={"order": "reconstruction"})
    found = accuracies(base, spec, images, 0, ImageData(images, labels, images, labels))
    statistics = ("", ", BN adjusted", ", BN re-estimated")
    assert list(found) == [f"{kind}{bn}" for kind in ("no compensation", "least squares") for bn in statistics]
    assert found["least squares"] == found["least squares, BN adjusted"] == 100
    assert found["no compensation"] < 100
    assert found["least squares, BN re-estimated"] < 100
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
