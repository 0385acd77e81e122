"""The coverage study: the checks of a trial find faults, a sweep continues where it stopped, the page shows both."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("torchvision")

from foad_plugins import FOADImportance
from foad_plugins.benchmarks.studies.common import read_lines
from foad_plugins.benchmarks.studies.coverage import __main__ as coverage
from foad_plugins.benchmarks.studies.coverage import trial as coverage_trial
from foad_plugins.benchmarks.studies.coverage.models import OTHERS, Case, case_of, classifiers, flat
from foad_plugins.benchmarks.studies.coverage.page import passed, write_coverage

DOCS = Path(__file__).resolve().parents[3] / "docs"
GOOD = {"checks": {"pruned": True, "forward": True}, "params_before": 100, "params_after": 50, "seconds": 1.0}
BAD = {"checks": {"pruned": "ValueError: no | way"}, "params_before": 100, "seconds": 2.0}
FULL = {"checks": {"pruned": "MemoryError: Unable to allocate"}, "params_before": 100, "seconds": 3.0}


@pytest.mark.parametrize("importance", ["l1", "foad"])
def test_a_network_that_can_be_pruned(importance):
    result = coverage_trial.run_trial(case_of("squeezenet1_1"), importance)
    expected = {"pruned", "forward", "saved", "backward"} | ({"untouched"} if importance == "foad" else set())
    assert set(result["checks"]) == expected
    assert passed(result)
    assert 0 < result["params_after"] < 0.6 * result["params_before"]
    assert result["unscored"] == 0


@pytest.mark.parametrize("importance", ["l1", "foad"])
def test_a_network_that_cannot(importance):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = coverage_trial.run_trial(case_of("shufflenet_v2_x0_5"), importance)
    assert not passed(result)
    assert result["checks"] == {"pruned": "ZeroDivisionError: integer division or modulo by zero"}
    assert "params_after" not in result


class _Tainted(FOADImportance):
    def __call__(self, group):
        group._DG.model.eval()
        return super().__call__(group)


def test_a_calibration_that_leaves_a_trace(monkeypatch):
    monkeypatch.setitem(coverage_trial.IMPORTANCES, "foad", _Tainted)
    result = coverage_trial.run_trial(case_of("squeezenet1_1"), "foad")
    assert result["checks"]["untouched"] == "changed: flags"
    assert not passed(result)


def test_a_network_that_comes_back_wrong(monkeypatch):
    monkeypatch.setattr(coverage_trial, "load_pruned", lambda make, *_, **__: Case("squeezenet1_1", 32, 2).build())
    result = coverage_trial.run_trial(case_of("squeezenet1_1"), "l1")
    assert result["checks"]["saved"] == "RuntimeError: the loaded network gives another output"


def _give_gradient(model):
    model[0].weight.grad = torch.ones_like(model[0].weight)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda model: model[0].weight.data.add_(1), "parameters"),
        (lambda model: setattr(model[0], "bias", nn.Parameter(model[0].bias.detach().clone())), "parameters"),
        (lambda model: model[1].running_mean.add_(1), "buffers"),
        (_give_gradient, "gradients"),
        (lambda model: model[1].train(), "flags"),
        (lambda model: model[0].weight.requires_grad_(False), "frozen"),
        (lambda model: model[0].register_forward_hook(lambda *_: None), "hooks"),
        (lambda model: model[0].register_full_backward_hook(lambda *_: None), "hooks"),
        (lambda model: setattr(model[0], "seen", 1), "attributes"),
        (lambda model: torch.rand(1), "random"),
        (lambda model: np.random.rand(), "random"),
        (lambda model: random.random(), "random"),
    ],
)
def test_every_trace_is_seen(change, what):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    before = coverage_trial.state_of(model)
    assert coverage_trial.state_of(model) == before
    change(model)
    after = coverage_trial.state_of(model)
    assert what in {name for name in before if before[name] != after[name]}


def test_a_sweep_continues_where_it_stopped(tmp_path, monkeypatch, capsys):
    tried = []

    def trial(name, importance, seconds, memory):
        tried.append((name, importance))
        if name == "stop":
            raise KeyboardInterrupt
        return GOOD if importance == "foad" or name == "both" else BAD

    monkeypatch.setattr(coverage, "trial", trial)
    lines = tmp_path / "lines.jsonl"
    with pytest.raises(KeyboardInterrupt):
        coverage.sweep(["both", "stop", "foad only"], lines, 1, 1)
    assert tried == [("both", "l1"), ("both", "foad"), ("stop", "l1")]
    tried.clear()
    coverage.sweep(["both", "foad only"], lines, 1, 1)
    assert tried == [("foad only", "l1"), ("foad only", "foad")]
    assert "2/2 foad only: l1 no, foad yes" in capsys.readouterr().out
    known = [json.loads(line) for line in lines.read_text().splitlines()]
    lines.write_text("".join(json.dumps({**line, "versions": {"torch": "0"}}) + "\n" for line in known))
    tried.clear()
    coverage.sweep(["both"], lines, 1, 1)
    assert tried == [("both", "l1"), ("both", "foad")]
    assert [line["model"] for line in read_lines(lines, "model")] == ["both", "foad only"]


def test_a_trial_in_a_process_of_its_own_is_stopped():
    result = coverage.trial("squeezenet1_1", "l1", 0.2, 10)
    assert result == {"checks": {"pruned": "stopped after 0.2 seconds"}, "seconds": 0.2}


@pytest.mark.slow
def test_a_trial_in_a_process_of_its_own_has_so_much_memory():
    assert passed(coverage.trial("squeezenet1_1", "foad", 300, 4))
    result = coverage.trial("vgg11", "l1", 300, 0.75)
    assert not passed(result)
    assert "params_after" not in result


def test_the_page(tmp_path):
    versions, limits = {"torch": "2"}, {"seconds": 5, "memory": 10}
    lines = [
        {"model": name, "l1": one, "foad": other, "versions": versions, "limits": limits}
        for name, one, other in [
            ("b", GOOD, GOOD),
            ("a", BAD, GOOD),
            ("c", GOOD, BAD),
            (OTHERS[0], BAD, BAD),
            ("vgg11", GOOD, FULL),
        ]
    ]
    lines.append({"model": "vit_h_14", "left_out": "for want of memory"})
    write_coverage(lines, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "Not tried, for want of memory: vit_h_14.\n" in text
    assert "vgg11, " not in text.split("Not tried yet: ")[1].split("\n")[0]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines() if row.startswith("|")]
    assert ["Classifiers", "4", "3", "2", "1", "1"] in cells
    assert ["vgg11", "yes", "0.500", "1", "limit", "", "3"] in cells
    assert ["Segmentation and detection", "1", "0", "0", "0", "0"] in cells
    assert ["a", "no", "", "2", "yes", "0.500", "1"] in cells
    assert r"ValueError: no \| way" in text
    assert "Not tried yet: alexnet, " in text
    assert [row[0] for row in cells if len(row) == 7 and row[0] in ("a", "b", "c")] == ["a", "b", "c"]


def test_what_is_left_out_is_tried_later(tmp_path, monkeypatch):
    lines = tmp_path / "lines.jsonl"
    coverage.leave_out(["a", "b"], lines, "for want of time")
    monkeypatch.setattr(coverage, "trial", lambda *_: GOOD)
    coverage.sweep(["a"], lines, 1, 1)
    assert [line.get("left_out") for line in read_lines(lines, "model")] == [None, "for want of time"]


def test_every_model_has_a_case():
    names = [*classifiers(), *OTHERS]
    assert len(names) == len(set(names)) >= 85
    for name in names:
        case = case_of(name)
        assert 28 <= case.size <= 320
        assert 2 <= case.batch <= 4
    model = case_of("mobilenet_v3_small").build()
    assert [layer.out_features for layer in case_of("mobilenet_v3_small").heads(model)] == [10]
    assert flat({"a": torch.ones(2), "b": [torch.ones(1, dtype=torch.long), (torch.zeros(1),)]}).tolist() == [1, 1, 0]


def test_the_committed_page_is_what_the_committed_lines_give(tmp_path):
    lines = read_lines(DOCS / "measurements" / "coverage.jsonl", "model")
    write_coverage(lines, tmp_path / "page.md")
    # The machine's name is of where it is written.
    assert (tmp_path / "page.md").read_text().splitlines()[:-1] == (
        DOCS / "measurements" / "coverage.md"
    ).read_text().splitlines()[:-1]
    tried = [line for line in lines if "left_out" not in line]
    assert not [line["model"] for line in tried if passed(line["l1"]) and not passed(line["foad"])]
