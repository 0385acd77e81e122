"""Verification: wrong removals are found and undone, right ones accepted."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from foad_plugins import FOADWarning, prune
from foad_plugins.adapters.prune.verify import outputs_differ
from tests.adapters.prune.test_api import snapshot
from tests.helpers.seeds import generator
from tests.networks.misgrouped_networks import FAILING, SILENTLY_WRONG, FlattenedThenConcatenated, Sliced
from tests.networks.small_networks import Chain, Concat, Residual, Tokens, seeded_norms

IMAGES = torch.randn(24, 3, 8, 8, generator=generator())


@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
@pytest.mark.parametrize("network", SILENTLY_WRONG)
@pytest.mark.parametrize("target", [{}, {"pruning_ratio": 0.3}, {"flops": 0.6}, {"pruning_ratio": 0.3, "steps": 2}])
def test_silently_wrong_removals_are_found_and_undone(network, target):
    model = network().train()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match=r"does not remove the right channels of the group of layer '(make|right)'"):
        prune(model, IMAGES, on_wrong_removal="error", **target)
    assert snapshot(model) == before


# The groups of the network left out are seen to be wrong before anything is removed.
@pytest.mark.parametrize("network", [one for one in SILENTLY_WRONG if one is not FlattenedThenConcatenated])
def test_without_verification_they_are_not_found(network):
    # When this fails, Torch-Pruning has fixed the case.
    model = network().eval()
    prune(model, IMAGES, pruning_ratio=0.4, verify=False, measure_latency=False)
    assert model(IMAGES).shape[0] == 24


@pytest.mark.parametrize("network", FAILING)
@pytest.mark.parametrize("verify", [True, False])
def test_removals_that_break_the_network_are_undone(network, verify):
    model = network().eval()
    before = snapshot(model)
    with warnings.catch_warnings():
        # Whether such a group can be scored is tested elsewhere.
        warnings.simplefilter("ignore", FOADWarning)
        with pytest.raises(RuntimeError, match="right channels of the group|the network|cannot remove"):
            # An odd number of channels: an even one can be removed in halves, as those networks happen to need.
            prune(model, IMAGES, pruning_ratio=0.3, verify=verify, on_wrong_removal="error")
    assert snapshot(model) == before


def test_a_wrong_group_can_be_ignored():
    model = SILENTLY_WRONG[0]()
    extended = nn.Sequential(nn.Conv2d(3, 7, 1), nn.ReLU(), nn.Conv2d(7, 3, 1), model)
    with pytest.raises(RuntimeError, match=r"layer '3.make' \('3.make'\).*ignored_layers"):
        prune(extended, IMAGES, pruning_ratio=0.4, on_wrong_removal="error")
    report = prune(extended, IMAGES, pruning_ratio=0.4, ignored_layers=["3.make"])
    assert {group.name: group.verification for group in report.groups} == {"0": "verified", "2": "verified"}


def test_slices_are_judged_by_what_comes_out():
    outcomes = set()
    for seed in range(8):
        torch.manual_seed(seed)
        model = Sliced().eval()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FOADWarning)
                report = prune(model, IMAGES, measure_latency=False, on_wrong_removal="error")
            outcomes.add(report.groups[0].verification)
        except RuntimeError:
            outcomes.add("refused")
    assert outcomes <= {"refused", "verified"}
    assert "refused" in outcomes


@pytest.mark.parametrize("network", [Chain, Residual, Concat, lambda: Chain(groups=4), Tokens])
def test_right_removals_are_verified(network):
    model = seeded_norms(network())
    images = torch.rand(24, 7, 6) if isinstance(model, Tokens) else IMAGES
    report = prune(model, images, pruning_ratio=0.5, measure_latency=False)
    assert {group.verification for group in report.groups} == {"verified"}


def test_a_normalization_over_removed_channels_is_not_verifiable():
    report = prune(Chain(norm="group"), IMAGES, pruning_ratio=0.5)
    assert {group.name: group.verification for group in report.groups} == {
        "conv1": "not verifiable",
        "conv2": "not verifiable",
    }
    assert "not verifiable (a normalization mixes the channels): conv1, conv2" in str(report)
    assert {group.verification for group in prune(Chain(), IMAGES, verify=False).groups} == {"skipped"}


def test_models_that_cannot_run_in_double_precision():
    class Cast(Chain):
        def forward(self, x):
            return super().forward(x.float())

    model = seeded_norms(Cast())
    assert {group.verification for group in prune(model, IMAGES, pruning_ratio=0.5).groups} == {"verified"}
    assert model.conv1.weight.dtype == torch.float32


def test_half_precision_models():
    model = seeded_norms(Chain()).bfloat16().eval()
    report = prune(model, IMAGES.bfloat16(), pruning_ratio=0.5)
    assert {group.verification for group in report.groups} == {"verified"}
    assert all(parameter.dtype == torch.bfloat16 for parameter in model.parameters())


def test_outputs_that_differ():
    one = torch.tensor([1.0, 2.0])
    assert not outputs_differ([one], [one + 1e-5])
    assert outputs_differ([one], [one + 0.01])
    assert not outputs_differ([one.double()], [one.double() + 1e-9])
    assert outputs_differ([one.double()], [one.double() + 1e-5])
    assert outputs_differ([one], [one, one])
    assert outputs_differ([one], [one[:1]])
    assert outputs_differ([one], [torch.tensor([1.0, float("nan")])])
    assert not outputs_differ([torch.tensor([float("nan")])], [torch.tensor([float("nan")])])
    assert not outputs_differ([torch.tensor([1, 2])], [torch.tensor([2, 1])])


# Sizes at which every feature map keeps a position.
ACCEPTED = {
    "alexnet": 96,
    "vgg11_bn": 32,
    "vgg16_bn": 32,
    "resnet18": 64,
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "wide_resnet50_2": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "mobilenet_v3_large": 64,
    "mnasnet0_5": 64,
    "densenet121": 64,
    "squeezenet1_1": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "regnet_x_400mf": 64,
    "regnet_y_400mf": 64,
    "convnext_tiny": 64,
    "vit_b_16": 64,
}


@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(name, marks=pytest.mark.slow) for name in ACCEPTED if name != "resnet18")]
)
def test_right_removals_of_torchvision_are_accepted(name):
    torchvision = pytest.importorskip("torchvision")
    options = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    options |= {"image_size": ACCEPTED[name]} if name.startswith("vit") else {}
    model = torchvision.models.get_model(name, num_classes=10, **options).eval()
    original = copy.deepcopy(model)
    images = torch.rand(4, 3, ACCEPTED[name], ACCEPTED[name])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch_pruning")
        warnings.simplefilter("ignore", FOADWarning)
        report = prune(model, images, pruning_ratio=0.3, measure_latency=False)
    proofs = [group.verification for group in report.groups if group.selection.removed]
    assert proofs.count("verified") > 0
    assert set(proofs) <= ({"verified", "not verifiable"} if name in ("convnext_tiny", "vit_b_16") else {"verified"})
    assert report.params_after < sum(parameter.numel() for parameter in original.parameters())
    assert model(images).shape == (4, 10)
