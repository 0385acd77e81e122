"""The study of networks to a target: its verdicts, its page, and a sweep that goes on where it stopped."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torchvision")

from foad_plugins.benchmarks.studies.coverage import target_trial, targets
from foad_plugins.benchmarks.studies.coverage.catalog import Network, catalog
from foad_plugins.benchmarks.studies.coverage.targets_page import verdict, write_targets
from tests.networks.small_networks import Chain

GOOD = {"network": "torchvision/resnet18", "flops": 0.695, "params": 0.7, "layers": 21, "narrowed": 3, "seconds": 2.0}
GOOD |= {"works": True, "kept": {"fc": "its channels are the model's output", "conv1": "it | has no time"}, "notes": []}
OTHERS = {
    "works": {**GOOD, "network": "timm/test_vit", "flops": 0.8, "notes": ["flops=0.7 is met to 0.800 only: why"]},
    "unchanged": {"network": "timm/test_nfnet", "error": "ValueError: no", "unchanged": True, "works": True},
    "broken": {"network": "transformers/ViT", "error": "ValueError: no", "unchanged": False, "works": True},
    "stopped": {"network": "transformers/Swin", "stopped": "after 90 seconds"},
}


def test_verdicts():
    assert verdict(GOOD) == "reached"
    assert verdict({**GOOD, "works": False}) == "broken"
    assert {kind: verdict(line) for kind, line in OTHERS.items()} == {kind: kind for kind in OTHERS}


def test_the_page_has_every_network_and_every_reason(tmp_path):
    lines = [{"seconds": 1.0, "versions": {"timm": "1.0"}, **line} for line in (GOOD, *OTHERS.values())]
    write_targets(lines, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| all          | 5          | 1         | 20 %    | 1       | 1           | 1        | 1         |" in text
    assert "it \\| has no time" in text
    assert "its channels are the model's output" not in text
    assert "met to 0.800 only" in text
    assert "stopped" in text


def test_a_trial_records_the_share_and_the_reasons(monkeypatch):
    network = Network("chain", "torchvision", Chain, size=8)
    found = target_trial.run_target_trial(network, {"ranking": "local", "compensate": None})
    assert abs(found["flops"] - 0.7) < 0.05
    assert (found["works"], set(found["kept"].values())) == (True, {"its channels are the model's output"})


def test_a_trial_records_an_error_and_that_nothing_changed():
    network = Network("chain", "torchvision", Chain, size=8)
    found = target_trial.run_target_trial(network, {"ignored_layers": [name for name, _ in Chain().named_children()]})
    assert found["error"].startswith("ValueError: the model has no convolution")
    assert (found["works"], found["unchanged"]) == (True, True)


def test_a_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(targets, "trial", lambda name, *_: tried.append(name) or {"flops": 0.7})
    names = list(catalog())[:3]
    (tmp_path / "lines").write_text(json.dumps({"network": names[1]}) + "\n")
    for _ in range(2):
        targets.sweep(names, tmp_path / "lines", 1, 1, {})
    assert tried == [names[0], names[2]]
    assert {line["network"] for line in targets.read_lines(tmp_path / "lines", "network")} == set(names)
