from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn.utils import prune as masks

from foad_plugins import FOADImportance
from tests.adapters.prune.test_api import snapshot
from tests.helpers.pruned import IMAGES, run
from tests.networks.small_networks import Chain, Residual, Wide, seeded_norms

NO_TARGET = "has no effect with the published rule"
HALF = {"flops": 0.5}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"flops": 0.5, "pruning_ratio": 0.5}, ValueError, "give one target, got flops and pruning_ratio"),
        ({"latency": 0.5, "neighbors": 2}, ValueError, "give one target, got latency and neighbors"),
        ({"pruning_ratio": 0.5, "threshold": 0.0}, ValueError, "give one target, got pruning_ratio and threshold"),
        *[({kind: 0}, ValueError, f"{kind} is the share of the original's") for kind in ("flops", "params", "latency")],
        *[({kind: 1.0}, ValueError, f"{kind} .* below 1, got 1.0") for kind in ("flops", "params", "latency")],
        ({"flops": float("nan")}, ValueError, "got nan"),
        ({"params": -0.5}, ValueError, "got -0.5"),
        ({"flops": "half"}, TypeError, "flops must be a number, got 'half'"),
        ({"flops": True}, TypeError, "flops must be a number, got True"),
        ({"pruning_ratio": 1.0}, ValueError, r"pruning_ratio is the share of channels to remove, in \[0, 1\)"),
        ({"pruning_ratio": -0.1}, ValueError, "got -0.1"),
        (HALF | {"order": "random"}, ValueError, "order must be one of"),
        (HALF | {"ranking": "Local"}, ValueError, "ranking must be one of 'local', 'global', 'isomorphic'"),
        (HALF | {"round_to": 0}, ValueError, "round_to must be an integer of at least 1, got 0"),
        (HALF | {"round_to": 2.0}, TypeError, "round_to must be an integer"),
        (HALF | {"steps": -1}, ValueError, "steps must be an integer of at least 1"),
        (HALF | {"steps": True}, TypeError, "steps must be an integer"),
        (HALF | {"callback": 3}, TypeError, "callback must be callable"),
        (HALF | {"compensate": "yes"}, ValueError, "compensate must be 'auto', None or one of"),
        (HALF | {"importance": "l1"}, TypeError, "importance of Torch-Pruning, got 'l1'"),
        (HALF | {"importance": FOADImportance}, TypeError, "importance of Torch-Pruning, got <class"),
        (HALF | {"importance": tp.importance.TaylorImportance()}, ValueError, "TaylorImportance cannot score"),
        (HALF | {"importance": lambda group: [1.0] * 8}, ValueError, "8 finite scores .* 'conv1', got list"),
        (HALF | {"importance": lambda group: torch.zeros(3)}, ValueError, r"8 finite scores .* 'conv1', got \(3,\)"),
        (HALF | {"importance": lambda g: torch.full((len(g[0].idxs),), torch.nan)}, ValueError, "got NaN or Inf"),
        (HALF | {"max_pruning_ratio": 1.5}, ValueError, r"max_pruning_ratio must be shares of channels in \[0, 1\]"),
        (HALF | {"max_pruning_ratio": [0.5]}, TypeError, "max_pruning_ratio must be a number"),
        (HALF | {"max_pruning_ratio": {"conv9": 0.5}}, ValueError, "max_pruning_ratio: the model has no layer 'conv9'"),
        (HALF | {"max_pruning_ratio": {"conv1": None}}, TypeError, "max_pruning_ratio must be a number, got None"),
        (HALF | {"pruning_ratio_dict": {"conv1": 1.0}}, ValueError, r"in \[0, 1\), got 1.0"),
        (HALF | {"pruning_ratio_dict": [("conv1", 0.5)]}, TypeError, "must be a dict of layers"),
        (HALF | {"pruning_ratio_dict": {0: 0.5}}, TypeError, "pruning_ratio_dict takes modules and names, got 0"),
        (HALF | {"pruning_ratio_dict": {"fc": 0.5}}, ValueError, "layer 'fc' has no channels that may be removed"),
        (HALF | {"pruning_ratio_dict": {"conv1": 0.5}, "ignored_layers": ["conv1"]}, ValueError, "'conv1' has no"),
        (HALF | {"max_batches": 0}, ValueError, "max_batches must be None or at least 1"),
        (HALF | {"max_batches": 1.5}, TypeError, "max_batches must be None or an integer"),
        (HALF | {"forward_fn": 3}, TypeError, r"forward_fn must be callable as forward_fn\(model, batch\), got 3"),
        ({"ignored_layers": 3}, TypeError, "ignored_layers takes modules and names, got 3"),
        ({"importance": tp.importance.MagnitudeImportance()}, ValueError, f"importance {NO_TARGET}"),
        ({"ranking": "global", "round_to": 8}, ValueError, f"ranking and round_to {NO_TARGET}"),
        ({"max_pruning_ratio": {}, "order": "rounds"}, ValueError, f"order and max_pruning_ratio {NO_TARGET}"),
        ({"neighbors": 1, "pruning_ratio_dict": {"conv1": 0.5}}, ValueError, f"pruning_ratio_dict {NO_TARGET}"),
    ],
)
def test_arguments_are_refused_with_their_names(options, error, message, chain):
    before = snapshot(chain)
    with pytest.raises(error, match=message):
        run(chain, **options)
    assert snapshot(chain) == before


@pytest.fixture(scope="module")
def chain():
    """One for all refusals, which leave it unchanged."""
    return Chain()


def test_an_object_that_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got Tensor"):
        run(IMAGES, Chain(), flops=0.5)


def test_ratios_that_disagree_within_a_group_are_refused():
    with pytest.raises(ValueError, match=r"coupled group of layer '\w+' several ratios: 0.25, 0.5"):
        run(Residual(), flops=0.5, pruning_ratio_dict={"stem": 0.25, "block2": 0.5})


def test_numbers_of_numpy_are_numbers():
    model = seeded_norms(Wide())
    run(model, flops=np.float32(0.5), round_to=np.int64(4), steps=np.int32(1))
    assert model.stem.out_channels % 4 == 0
    assert model.stem.out_channels < 24


@pytest.mark.parametrize(
    "compute",
    [
        lambda layer: nn.utils.parametrizations.weight_norm(layer),
        lambda layer: nn.utils.parametrizations.spectral_norm(layer),
        lambda layer: masks.l1_unstructured(layer, "weight", 0.5),
    ],
    ids=["weight_norm", "spectral_norm", "mask"],
)
@pytest.mark.parametrize("place", [0, 2])
def test_computed_weights_are_refused(compute, place):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 5))
    model[place] = compute(model[place])
    before = snapshot(model)
    with pytest.raises(ValueError, match=f"weight of layer '{place}' is computed from other parameters"):
        run(model, flops=0.5)
    assert snapshot(model) == before


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_the_error_for_computed_weights_names_all_layers_and_what_undoes_them():
    model = nn.Sequential(
        *(nn.Conv2d(3 if not place else 8, 8, 1) for place in range(6)), nn.Flatten(), nn.Linear(512, 5)
    )
    nn.utils.weight_norm(model[0])
    nn.utils.spectral_norm(model[1])
    nn.utils.parametrizations.weight_norm(model[2])
    masks.l1_unstructured(model[3], "bias", 0.5)
    with pytest.raises(ValueError, match=r"weight of layers '0', '1', '2', '3' is computed") as caught:
        run(model, flops=0.5)
    for call in (
        "torch.nn.utils.remove_weight_norm(layer, 'weight') of '0'",
        "torch.nn.utils.remove_spectral_norm(layer, 'weight') of '1'",
        "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') of '2'",
        "torch.nn.utils.prune.remove(layer, 'bias') of '3'",
    ):
        assert call in str(caught.value)
    nn.utils.remove_weight_norm(model[0])
    nn.utils.remove_spectral_norm(model[1])
    nn.utils.parametrize.remove_parametrizations(model[2], "weight")
    masks.remove(model[3], "bias")
    assert run(model, flops=0.5).removed


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_scripted_parts_without_parameters_are_accepted():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), torch.jit.script(nn.ReLU()), nn.Conv2d(8, 4, 1), nn.Flatten()).eval()
    run(model, params=0.6)
    assert model[0].out_channels < 8
    run(model, params=0.9, on_wrong_removal="error", dry_run=True)
    assert model(IMAGES[:1]).isfinite().all()
    model[1] = torch.jit.script(nn.BatchNorm2d(model[0].out_channels))
    with pytest.raises(ValueError, match="layer '1' is TorchScript"):
        run(model, flops=0.5)
