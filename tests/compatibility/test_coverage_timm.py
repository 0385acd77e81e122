"""Architectures of timm, and YOLO as ultralytics builds it."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance, FOADWarning, count_params, prune
from foad_plugins.utils.outputs import output_tensors
from tests.helpers.seeds import SEED, generator

IMAGES = torch.rand(4, 3, 64, 64, generator=generator())
SLOW = pytest.mark.slow

PRUNED = [
    "resnet10t",
    "repvgg_a0",
    "mobilenetv4_conv_small",
    *(
        pytest.param(name, marks=SLOW)
        for name in (
            "convnextv2_atto",
            "dla34",
            "efficientnet_lite0",
            "hrnet_w18_small",
            "selecsls42",
            "tf_efficientnetv2_b0",
        )
    ),
]
ATTENTION = ["vit_tiny_patch16_224", pytest.param("mobilevit_xxs", marks=SLOW)]
FAILING = [
    "poolformer_s12",
    *(pytest.param(name, marks=SLOW) for name in ("cspresnet50", "mixnet_s", "nf_resnet50", "xcit_nano_12_p16_224")),
]

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")


def build(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(SEED)
    options = {"img_size": 64} if name.startswith("vit") else {}
    return timm.create_model(name, num_classes=10, **options).eval()


def attention(model):
    return {
        part.qkv: part
        for part in model.modules()
        if isinstance(getattr(part, "qkv", None), nn.Linear) and hasattr(part, "num_heads")
    }


def by_pruner(model, importance):
    heads = [
        part for part in model.modules() if 10 in (getattr(part, "out_features", 0), getattr(part, "out_channels", 0))
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch_pruning")
        pruner = tp.pruner.MetaPruner(
            model,
            (IMAGES[:1],),
            importance=importance,
            pruning_ratio=0.3,
            ignored_layers=heads,
            in_channel_groups={},
            out_channel_groups={},
            num_heads={layer: part.num_heads for layer, part in attention(model).items()},
        )
    pruner.step()
    for layer, part in attention(model).items():
        part.num_heads = pruner.num_heads[layer]
        part.head_dim = layer.out_features // (3 * part.num_heads)
        part.attn_dim = part.head_dim * part.num_heads


def by_target(model, ignored=()):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FOADWarning)
        return prune(model, IMAGES, pruning_ratio=0.3, order="rounds", measure_latency=False, ignored_layers=ignored)


def assert_in_order(model, before):
    assert count_params(model) < 0.8 * before
    with torch.no_grad():
        assert model.eval()(IMAGES).shape == (4, 10)
    model.train()(IMAGES).sum().backward()


@pytest.mark.parametrize("name", [*PRUNED, *ATTENTION])
def test_by_a_pruner(name):
    model = build(name)
    before = count_params(model)
    by_pruner(model, FOADImportance(IMAGES))
    assert_in_order(model, before)


@pytest.mark.parametrize("name", PRUNED)
def test_to_a_target(name):
    model = build(name)
    report = by_target(model)
    assert_in_order(model, report.params_before)
    proofs = {group.verification for group in report.groups if group.selection.removed}
    assert proofs == ({"verified", "not verifiable"} if name == "convnextv2_atto" else {"verified"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cspresnet50", "ghostnet_100", "mixnet_s", "rexnet_100", "vit_tiny_patch16_224"])
def test_to_a_target_with_groups_that_are_kept(name):
    model = build(name)
    report = by_target(model)
    assert any("are kept: " in note for note in report.notes)
    assert_in_order(model, report.params_before)


@pytest.mark.parametrize("name", FAILING)
def test_what_torch_pruning_breaks_with_its_own_importance(name):
    # When this fails, Torch-Pruning has mended the case.
    model = build(name)

    def prune_and_run():
        by_pruner(model, tp.importance.MagnitudeImportance(p=1))
        model(IMAGES)

    with pytest.raises((RuntimeError, IndexError)):
        prune_and_run()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov5n", "yolov8n", "yolo11n"])
def test_yolo(name):
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    torch.manual_seed(SEED)
    model = tasks.DetectionModel(f"{name}.yaml", nc=3, verbose=False).requires_grad_(True).eval()
    with torch.no_grad():
        shapes = [tensor.shape for tensor in output_tensors(model(IMAGES))]
    report = by_target(model, [f"model.{len(model.model) - 1}"])
    assert report.params_after < 0.8 * report.params_before
    assert {group.verification for group in report.groups if group.selection.removed} == {"verified"}
    with torch.no_grad():
        assert [tensor.shape for tensor in output_tensors(model(IMAGES))] == shapes
    outputs = output_tensors(model.train()(IMAGES))
    sum(tensor.float().square().mean() for tensor in outputs).backward()
