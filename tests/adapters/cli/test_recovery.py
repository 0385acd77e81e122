from __future__ import annotations

import numpy as np
import pytest
import torch

from foad_plugins.adapters.checkpoint.api import load_pruned
from foad_plugins.adapters.cli import entry as cli

image = pytest.importorskip("PIL.Image")
safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("torchvision")
pytestmark = pytest.mark.filterwarnings("ignore:fewer samples")

NETWORK = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 5),
    )
"""
CALL = ["prune", "--model", "recover_net:build", "--weights", "net.safetensors", "--size", "16", "--flops", "0.4"]
QUICK = ["--no-latency", "--quiet", "--images", "8"]


def network() -> torch.nn.Module:
    names: dict = {}
    exec(NETWORK, names)
    return names["build"]()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a network, its weights and photos in two classes, to work in."""
    (tmp_path / "recover_net.py").write_text(NETWORK)
    for number in range(24):
        place = tmp_path / "photos" / ("cats" if number % 2 else "dogs") / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        image.fromarray(pixels).save(place)
    monkeypatch.chdir(tmp_path)
    safetensors.save_file(network().state_dict(), "net.safetensors")
    return tmp_path


def original() -> torch.nn.Module:
    model = network()
    model.load_state_dict(safetensors.load_file("net.safetensors"))
    return model.eval()


def prune(*arguments: str, data: str = "photos", out: str = "small.safetensors") -> torch.nn.Module:
    assert cli.main([*CALL, *QUICK, "--data", data, "--out", out, *arguments]) == 0
    return load_pruned(network, out).eval()


def test_all_images_of_the_folder_are_learned_from_and_the_outputs_are_nearer(capsys):
    batch = torch.randn(32, 3, 16, 16)
    plain = prune("--compensate", "least_squares")
    assert "recovery" not in capsys.readouterr().out
    trained = prune("--compensate", "least_squares", "--recover", "40", out="trained.safetensors")
    assert "recovery: 40 steps (40 epochs of 22 images)" in capsys.readouterr().out
    with torch.no_grad():
        before, after = ((model(batch) - original()(batch)).square().mean() for model in (plain, trained))
    assert after < before


def test_the_classes_of_the_folder_are_not_used(folder):
    first = prune("--recover", "2")
    (folder / "photos").rename(folder / "others")
    for number, name in enumerate(("cats", "dogs")):
        (folder / "others" / name).rename(folder / "others" / f"{number}")
    second = prune("--recover", "2", data="others", out="second.safetensors")
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_a_training_that_fails_does_not_lose_the_pruned_model(monkeypatch, capsys):
    from foad_plugins.adapters.cli import recovery

    def fail(*arguments, **options):
        raise RuntimeError("the loss became nan")

    monkeypatch.setattr(recovery, "recover", fail)
    assert cli.main([*CALL, *QUICK, "--data", "photos", "--out", "small.safetensors", "--recover", "2"]) == 1
    assert "foad: --recover: the loss became nan" in capsys.readouterr().err
    assert sum(map(torch.numel, load_pruned(network, "small.safetensors").parameters())) < sum(
        map(torch.numel, network().parameters())
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recover", "0", "--out", "small.safetensors"], "above 0, got 0"),
        (["--recover", "-1", "--out", "small.safetensors"], "above 0, got -1"),
        (["--recover", "2", "--dry-run"], "drop one of them"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message, folder, capsys):
    assert cli.main([*CALL, *QUICK, "--data", "photos", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "small.safetensors").exists()
