from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from foad_plugins import count_flops, count_params
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.models import MobileFaceNet, build_model
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.runs.cached_scores import CachedScores
from foad_plugins.benchmarks.runs.prune_to_target import ignored, prune_to_target
from foad_plugins.benchmarks.runs.weights_file import WeightsError, WeightsFile
from foad_plugins.benchmarks.suites.loader import find_suite
from foad_plugins.benchmarks.suites.targets import Target
from tests.conftest import data_file

SPEC = Spec(name="mobilefacenet")


def test_size_and_cost_are_the_published_ones() -> None:
    model = build_model(SPEC, seed=0).eval()
    assert count_params(model) == 999_552
    assert count_flops(model, torch.zeros(1, 3, 112, 96)) / 1e6 == pytest.approx(194.9, abs=0.05)
    assert model(torch.zeros(2, 3, 112, 96)).shape == (2, 128)


def test_square_faces_and_other_embeddings() -> None:
    model = build_model(Spec(name="mobilefacenet", settings={"image_size": [112, 112], "embedding": 64}), seed=0)
    assert model.eval()(torch.zeros(2, 3, 112, 112)).shape == (2, 64)
    assert model.linear7.conv.kernel_size == (7, 7)


@pytest.mark.parametrize("size", [[112], [112, 100], [0, 112]])
def test_sizes_it_cannot_have(size: list[int]) -> None:
    with pytest.raises(SettingsError, match="image_size"):
        build_model(Spec(name="mobilefacenet", settings={"image_size": size}), seed=0)


def test_the_checkpoint_fits_and_others_do_not(mobilefacenet_weights: dict[str, Tensor], tmp_path: Path) -> None:
    model = MobileFaceNet()
    WeightsFile.read(data_file("weights/mobilefacenet_casia.safetensors")).load_into(model)
    assert torch.equal(model.linear1.conv.weight, mobilefacenet_weights["linear1.conv.weight"])
    before = copy.deepcopy(model.state_dict())
    renamed = {name.replace("linear1", "features"): value for name, value in mobilefacenet_weights.items()}
    save_file(renamed, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors does not fit MobileFaceNet: .*linear1\.conv\.weight"):
        WeightsFile.read(tmp_path / "other.safetensors").load_into(model)
    with pytest.raises(WeightsError, match=r"linear7\.conv\.weight"):
        WeightsFile("checkpoint", mobilefacenet_weights).load_into(MobileFaceNet((112, 112)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_both_targets_are_met_and_residual_streams_and_embedding_are_kept() -> None:
    suite = find_suite("lfw-mobilefacenet")
    model = build_model(suite.conditions.model, seed=0).eval()
    kept = set(ignored(model, suite.conditions.ignored_layers))
    images = torch.randn(2, 3, 112, 96, generator=torch.Generator().manual_seed(0))

    def lowest_first(group: object) -> Tensor:
        return group[0].dep.layer.weight.detach().flatten(1).norm(dim=1)

    (target,) = suite.targets
    pruned = prune_to_target(
        model,
        images,
        CachedScores(lowest_first, "norm"),
        target,
        tolerance=suite.conditions.tolerance,
        ignored_layers=suite.conditions.ignored_layers,
    ).model
    assert target == Target(flops_reduction=0.636, params_reduction=0.58)
    assert count_params(pruned) / 999_552 == pytest.approx(0.42, abs=suite.conditions.tolerance)
    flops = [count_flops(network, images[:1]) for network in (pruned, model)]
    assert flops[0] / flops[1] == pytest.approx(0.364, abs=suite.conditions.tolerance)
    for name in kept:
        assert pruned.get_submodule(name).out_channels == model.get_submodule(name).out_channels
    assert pruned(images).shape == (2, 128)
