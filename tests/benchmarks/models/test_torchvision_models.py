from __future__ import annotations

import socket
import warnings
from pathlib import Path

import pytest
import torch
from torchvision import models

from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.models import MODELS, build_model
from foad_plugins.benchmarks.registry.registry import Spec, UnknownNameError


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""

    def refused(*args: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def build(name: str, **settings: object) -> torch.nn.Module:
    return build_model(Spec(name=f"torchvision:{name}", settings=settings), seed=3)


def test_a_classifier_by_its_name_there() -> None:
    state = torch.get_rng_state()
    model = build("squeezenet1_1", num_classes=7, dropout=0.0)
    assert isinstance(model, models.SqueezeNet)
    assert model.classifier[1].out_channels == 7
    assert model.classifier[0].p == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.features[0].weight, build("squeezenet1_1", num_classes=7).features[0].weight)


def test_settings_are_filled_in_and_survive_json() -> None:
    spec = MODELS.complete(Spec(name="torchvision:resnet18", settings={"norm_layer": None}))
    assert spec.settings == {"weights": None, "num_classes": 1000, "download": False, "norm_layer": None}
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert MODELS.describe("torchvision:resnet18") == "torchvision's resnet18."


@pytest.mark.parametrize("name", ["resnt18", "fcn_resnet50", ""])
def test_an_unknown_name(name: str) -> None:
    near = "; did you mean .*'torchvision:resnet18'" if name == "resnt18" else ""
    with pytest.raises(UnknownNameError, match=f"unknown model 'torchvision:{name}'{near}.*torchvision has: alexnet"):
        build(name)


def test_settings_that_its_builder_does_not_take() -> None:
    with pytest.raises(SettingsError, match="torchvision:alexnet.*unexpected keyword argument 'wrong'"):
        build("alexnet", wrong=1)


def test_side_classifiers_are_left_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build("googlenet", num_classes=3, init_weights=False)
    assert model.train()(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1", "DEFAULT"])
def test_an_error_about_missing_weights_names_what_to_do(hub: Path, name: str) -> None:
    file = hub / "resnet18-f37072fd.pth"
    with pytest.raises(
        SettingsError, match=rf"IMAGENET1K_V1 are not on this machine: put https://.*18-f37072fd.pth at {file}, or set"
    ):
        build("resnet18", weights=name)


def test_weights_that_cannot_be_fetched() -> None:
    with pytest.raises(SettingsError, match="IMAGENET1K_V1 cannot be fetched from https://.*no network in tests"):
        build("resnet18", weights="IMAGENET1K_V1", download=True)


def test_unknown_weights() -> None:
    with pytest.raises(SettingsError, match="weights must be None or one of IMAGENET1K_V1, DEFAULT, got 'IMAGENET'"):
        build("resnet18", weights="IMAGENET")


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_a_broken_weights_file(hub: Path, content: bytes) -> None:
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(content)
    with pytest.raises(SettingsError, match="squeezenet1_1-b8a52dc0.pth holds no weights that can be read"):
        build("squeezenet1_1", weights="IMAGENET1K_V1")


def test_a_weights_file_with_code_in_it_is_not_run(hub: Path) -> None:
    torch.save(Path("x"), hub / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(SettingsError, match="holds no weights that can be read"):
        build("squeezenet1_1", weights="IMAGENET1K_V1")


def test_weights_that_are_here_are_loaded(hub: Path) -> None:
    given = models.squeezenet1_1()
    torch.save(given.state_dict(), hub / "squeezenet1_1-b8a52dc0.pth")
    model = build("squeezenet1_1", weights="IMAGENET1K_V1")
    assert all(torch.equal(tensor, given.state_dict()[key]) for key, tensor in model.state_dict().items())
    with pytest.raises(SettingsError, match="num_classes"):
        build("squeezenet1_1", weights="IMAGENET1K_V1", num_classes=7)
