"""Layers that Torch-Pruning would follow in an infinite loop are found, and the others are pruned."""

from __future__ import annotations

import time
import warnings

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch_pruning.dependency.dependency import Dependency

from foad_plugins import FOADImportance, FOADWarning, prune
from foad_plugins.adapters.torch_pruning.graph import build_graph, nonterminating_roots, prunable_groups
from foad_plugins.adapters.torch_pruning.nonterminating import nonterminating_layers
from foad_plugins.calibration.data import Call
from tests.compatibility.test_coverage import NETWORKS
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())


class GramObserver(nn.Module):
    """Products between the channels of two layers, flattened for a third."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        left, right = (layer(x).relu().flatten(2) for layer in (self.left, self.right))
        return self.head(torch.einsum("bix,bjx->bij", left, right).flatten(1))


def graph_of(model, images=IMAGES):
    return build_graph(model.eval(), Call((images[:1],), images))


@pytest.mark.parametrize("network", [Chain, Residual, Concat, lambda: Chain(groups=4), lambda: Chain(norm="group")])
def test_well_formed_groups_terminate(network):
    graph = graph_of(network())
    assert nonterminating_roots(graph, []) == []


def test_tokens_and_real_architectures_terminate():
    assert nonterminating_roots(graph_of(Tokens(), torch.rand(2, 7, 6)), []) == []
    models = pytest.importorskip("torchvision.models")
    for name in ("resnet18", "densenet121", "googlenet"):
        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        assert nonterminating_roots(graph_of(models.get_model(name, **options), torch.rand(2, 3, 32, 32)), []) == []


def test_a_large_flattened_map_terminates():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 64 * 64, 2))
    assert nonterminating_roots(graph_of(model, torch.rand(1, 3, 64, 64)), []) == []


def test_all_user_networks_terminate():
    for make, data in NETWORKS.values():
        if isinstance(data, torch.Tensor):
            assert nonterminating_roots(graph_of(make(), data), []) == []


def test_products_of_channels_do_not_terminate():
    model = GramObserver()
    graph = graph_of(model)
    found = nonterminating_layers(graph, [model.left, model.right])
    assert found
    assert all(layer in (model.left, model.right) for layer in found)
    assert nonterminating_roots(graph, [model.left, model.right]) == []
    names = [group.name for group in prunable_groups(graph, [])]
    assert not {"left", "right"} & set(names)


def test_the_report_names_nonterminating_groups():
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ReLU(), nn.Conv2d(12, 3, 1), GramObserver()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FOADWarning)
        report = prune(model, IMAGES, pruning_ratio=0.3, order="rounds", measure_latency=False)
    assert model[0].out_channels == 8
    assert model[3].left.out_channels == 8
    assert any("does not finish to collect the groups of '3." in note for note in report.notes)


def test_a_layer_whose_group_takes_too_long_is_named_and_the_others_are_pruned(monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ReLU(), nn.Conv2d(12, 12, 1), nn.ReLU(), nn.Conv2d(12, 3, 1)).eval()
    slow, triggered = model[2], Dependency.is_triggered_by

    def slowly(dependency, pruning_fn):
        if dependency.source.module is slow and pruning_fn.__name__ == "prune_out_channels":
            started = time.thread_time()
            while time.thread_time() - started < 0.2:
                pass
        return triggered(dependency, pruning_fn)

    monkeypatch.setattr(Dependency, "is_triggered_by", slowly)
    started = time.thread_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FOADWarning)
        report = prune(model, IMAGES, pruning_ratio=0.5, measure_latency=False, max_trace_seconds=0.6)
        assert time.thread_time() - started < 10
        assert (model[0].out_channels, model[2].out_channels) == (6, 12)
        assert any("groups of '2' than max_trace_seconds=0.6 allows" in note for note in report.notes)
        slow = None
        prune(model, IMAGES, pruning_ratio=0.5, measure_latency=False, max_trace_seconds=5)
    assert model[2].out_channels == 6


def test_a_mapping_of_torch_pruning_that_fails_is_no_error():
    class Fails:
        reverse = True

        def __call__(self, indices):
            raise ZeroDivisionError("heads of no width")

    model = Chain().eval()
    graph = graph_of(model, IMAGES)
    graph.module2node[model.conv1].dependencies[0].index_mapping[0] = Fails()
    assert model.conv1 in nonterminating_roots(graph, [])


def test_a_limit_that_is_too_short_for_any_layer():
    with pytest.raises(ValueError, match="than max_trace_seconds=1e-12 allows: raise it"):
        prune(Chain(), IMAGES, pruning_ratio=0.5, max_trace_seconds=1e-12)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="max_trace_seconds must be a number above 0"):
            prune(Chain(), IMAGES, pruning_ratio=0.5, max_trace_seconds=wrong)


@pytest.mark.slow
def test_a_detectors_boxes_do_not_block_calibration():
    detection = pytest.importorskip("torchvision.models.detection")
    options = {"weights": None, "weights_backbone": None, "min_size": 64, "max_size": 64}
    model, images = detection.fasterrcnn_resnet50_fpn(**options).eval(), torch.rand(2, 3, 64, 64)
    assert nonterminating_roots(graph_of(model, images), []) == [model.roi_heads.box_predictor.bbox_pred]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch_pruning")
        tp.pruner.MetaPruner(
            model,
            (images[:1],),
            importance=FOADImportance(images),
            pruning_ratio=0.3,
            ignored_layers=[model.backbone.fpn, model.rpn.head, model.roi_heads],
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
        ).step()
    assert model.backbone.body.conv1.out_channels < 64
    assert len(model(images)) == 2
