"""A network that NNI has made small is refitted against the original."""

from __future__ import annotations

import copy

import pytest
import torch

pytest.importorskip("nni")

from foad_plugins import refit
from foad_plugins.adapters.nni.pruner import FOADPruner
from tests.adapters.nni import test_batch_norm_masks as host
from tests.helpers.seeds import generator
from tests.networks.small_networks import Residual, seeded_norms

pytestmark = host.pytestmark

IMAGES = torch.randn(64, 3, 8, 8, generator=generator())
OTHERS = torch.randn(64, 3, 8, 8, generator=generator(1))


def error(model, original):
    with torch.no_grad():
        expected = original(OTHERS)
        return float((model(OTHERS) - expected).square().mean() / expected.var())


def test_after_speedup_the_kept_channels_are_found_and_the_outputs_come_nearer():
    from nni.compression.speedup import ModelSpeedup

    model = seeded_norms(Residual()).eval()
    original = copy.deepcopy(model)
    config = [{"op_names": ["block1.0"], "sparse_ratio": 0.5}]
    pruner = FOADPruner(model, config, data=IMAGES)
    _, masks = pruner.compress()
    pruner.unwrap_model()
    ModelSpeedup(model, IMAGES[:2], masks).speedup_model()
    before = error(model.eval(), original)
    report = refit(model, original, IMAGES)
    assert len(model.block1[0].weight) == 3
    assert "block1.3" in report.changed
    assert error(model, original) < before
