"""Pruned models through the mixin of huggingface_hub: a local folder, and a repository that a folder stands in for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from foad_plugins import CheckpointError, utils
from tests.helpers.saved import outputs, pruned
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Residual

hub_mixin = pytest.importorskip("huggingface_hub.hub_mixin")
IMAGES = torch.rand(32, 3, 8, 8, generator=generator())


@pytest.fixture
def model():
    return pruned(Residual(), IMAGES, flops=0.6)


@pytest.fixture
def saved(model, tmp_path):
    from foad_plugins import PrunedModel

    PrunedModel(model).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_gives_the_model_back(model, saved):
    from foad_plugins import PrunedModel

    loaded = PrunedModel.from_pretrained(saved, network=Residual).network
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))
    assert repr(loaded) == repr(model)
    assert {file.name for file in saved.iterdir()} == {"README.md", "config.json", "pruned.safetensors"}
    assert json.loads((saved / "config.json").read_text())["parameters"] == sum(p.numel() for p in model.parameters())
    card = (saved / "README.md").read_text()
    assert "library_name: foad-plugins" in card
    assert "- pruning" in card


def test_push_and_load_by_name(model, tmp_path, monkeypatch):
    from foad_plugins import PrunedModel
    from foad_plugins.adapters.checkpoint import hub

    remote, asked = tmp_path / "remote", []

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, repo_id, **_):
            return type("Url", (), {"repo_id": repo_id})

        def upload_folder(self, *, folder_path, **_):
            shutil.copytree(folder_path, remote)
            return self.token

    def download(*, repo_id, filename, **options):
        asked.append((repo_id, filename, options["revision"], options["token"]))
        return str(remote / filename)

    monkeypatch.setattr(hub_mixin, "HfApi", Api)
    monkeypatch.setattr(hub_mixin, "hf_hub_download", download)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert PrunedModel(model).push_to_hub("me/small", token="mine") == "mine"
    loaded = PrunedModel.from_pretrained("me/small", network=Residual, revision="v1", token="mine").network
    assert torch.equal(outputs(loaded, IMAGES), outputs(model, IMAGES))
    assert asked == [("me/small", name, "v1", "mine") for name in ("config.json", "pruned.safetensors")]


def test_what_does_not_fit_is_refused(saved):
    from foad_plugins import PrunedModel

    with pytest.raises(CheckpointError, match="does not fit the network"):
        PrunedModel.from_pretrained(saved, network=Chain)
    with pytest.raises(TypeError, match="network=, the unpruned network"):
        PrunedModel.from_pretrained(saved)
    with pytest.raises(TypeError, match="got 'strict'"):
        PrunedModel.from_pretrained(saved, network=Residual, strict=False)
    with pytest.raises(TypeError, match="must be the pruned module, got str"):
        PrunedModel("a name")


@pytest.mark.parametrize("config", ['{"network": "os.system"}', '{"network": {"a": 1}, "strict": true}'])
def test_a_config_of_a_stranger_sets_nothing(model, saved, config):
    from foad_plugins import PrunedModel

    (saved / "config.json").write_text(config)
    assert torch.equal(
        outputs(PrunedModel.from_pretrained(saved, network=Residual).network, IMAGES), outputs(model, IMAGES)
    )
    with pytest.raises(TypeError, match="network=, the unpruned network"):
        PrunedModel.from_pretrained(saved)


def test_without_the_extra_the_error_names_it(monkeypatch):
    import importlib

    from foad_plugins.adapters.checkpoint import hub

    monkeypatch.setattr(utils.extras, "_installed", lambda module: module != "huggingface_hub")
    with pytest.raises(ImportError, match=r'huggingface-hub.*pip install "foad-plugins\[hub\]"'):
        importlib.reload(hub)


def test_the_package_does_not_import_the_hub():
    import subprocess
    import sys

    code = "import sys, foad_plugins; foad_plugins.save_pruned; assert 'huggingface_hub' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
