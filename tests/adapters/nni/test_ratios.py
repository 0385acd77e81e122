from __future__ import annotations

import pytest
import torch

pytest.importorskip("nni")

from foad_plugins import count_flops, sensitivity
from foad_plugins.adapters.nni import FOADPruner, config_from_widths
from tests.adapters.nni import test_batch_norm_masks as host
from tests.helpers.seeds import SEED, generator
from tests.networks.small_networks import Chain, Residual, Wide, seeded_norms

pytestmark = host.pytestmark

IMAGES = torch.rand(64, 3, 8, 8, generator=generator())


def built(make):
    torch.manual_seed(SEED)
    return seeded_norms(make()).eval()


def sped_up(model, config, images):
    from nni.compression.speedup import ModelSpeedup

    pruner = FOADPruner(model, config, data=images)
    _, masks = pruner.compress()
    pruner.unwrap_model()
    ModelSpeedup(model, images[:2], masks).speedup_model()
    return model.eval()


@pytest.mark.parametrize("make", [Wide, Residual])
def test_the_config_leaves_the_chosen_widths(make):
    model = built(make)
    before = count_flops(model, IMAGES[:1])
    widths = sensitivity(model, IMAGES).widths(flops=0.5)
    small = sped_up(model, config_from_widths(model, widths), IMAGES)
    for group in widths.groups:
        assert small.get_submodule(group.name).out_channels == group.after
    assert count_flops(small, IMAGES[:1]) / before == pytest.approx(widths.flops, abs=1e-6)


def test_groups_that_lose_nothing_are_not_named():
    model = built(Wide)
    widths = sensitivity(model, IMAGES).widths(flops=0.9)
    config = config_from_widths(model, widths)
    assert {name for entry in config for name in entry["op_names"]} == {
        name for group in widths.groups if group.ratio for name in group.layers
    }


def test_widths_of_another_model_are_refused():
    widths = sensitivity(built(Wide), IMAGES).widths(flops=0.9)
    with pytest.raises(ValueError, match="widths of another model: this one has no layer"):
        config_from_widths(built(Chain), widths)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121"])
def test_torchvision_models_meet_the_target(name):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(SEED)
    model = host.randomise(models.get_model(name, weights=None)).eval()
    images = torch.randn(16, 3, 64, 64)
    before = count_flops(model, images[:1])
    config = config_from_widths(model, sensitivity(model, images).widths(flops=0.6))
    assert count_flops(sped_up(model, config, images), images[:1]) / before == pytest.approx(0.6, abs=0.02)
