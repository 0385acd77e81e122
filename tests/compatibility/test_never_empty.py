"""Whatever is asked for, something is left of every layer, and the network still runs."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance, prune
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Concat, Residual, seeded_norms

pytestmark = pytest.mark.filterwarnings("ignore::foad_plugins.utils.warnings.InsufficientDataWarning")

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())


def by_rule(model, order):
    prune(model, IMAGES, neighbors=1000, measure_latency=False)


def by_ratio(model, order):
    prune(model, IMAGES, pruning_ratio=0.999, order=order, measure_latency=False)


def over_all_groups(model, order):
    prune(model, IMAGES, pruning_ratio=0.7, ranking="global", order=order, measure_latency=False)


def by_pruner(model, order):
    pruner = tp.pruner.MetaPruner(
        model,
        (IMAGES[:1],),
        importance=FOADImportance(IMAGES, order=order),
        pruning_ratio=0.999,
        ignored_layers=[getattr(model, "fc", None) or model.last],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    pruner.step()


def dead(model):
    """No map differs from another, so that any of them could be removed as a duplicate of any other."""
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize("state", [seeded_norms, dead])
@pytest.mark.parametrize("network", [Chain, Residual, Concat])
@pytest.mark.parametrize(
    ("how", "order"),
    [
        (by_rule, "rounds"),
        *[(how, order) for how in (by_ratio, by_pruner) for order in ("rounds", "backward", "reconstruction")],
        (over_all_groups, "reconstruction"),
    ],
)
def test_every_layer_keeps_a_channel(how, order, network, state):
    model = state(network()).eval()
    how(model, order)
    widths = [layer.weight.shape[0] for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert min(widths) >= 1
    assert model(IMAGES).shape == (6, 5)


@pytest.mark.parametrize("state", [seeded_norms, dead])
@pytest.mark.parametrize("setting", [{"sparse_ratio": 0.999}, {"min_sparse_ratio": 0.999}, {"sparse_threshold": 1e9}])
def test_nor_does_a_mask_of_nnis_take_a_whole_layer(setting, state):
    pytest.importorskip("nni")
    from foad_plugins import FOADPruner

    model = state(Chain())
    _, masks = FOADPruner(model, [{"op_types": ["Conv2d"], **setting}], data=IMAGES).compress()
    for name in ("conv1", "conv2"):
        assert masks[name]["weight"].any(), name
