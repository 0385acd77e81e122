"""The ResNet-56 suites on the real network and data, where these are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from foad_plugins.benchmarks.report import render
from foad_plugins.benchmarks.suites.loader import find_suite
from foad_plugins.benchmarks.sweep.runner import run_suite

from ...conftest import ROOT, data_file


@pytest.mark.slow
def test_compensation_beats_the_bare_cut(tmp_path: Path) -> None:
    data_file("data/cifar10_lossless.npz")
    data_file("weights/resnet56_cifar10.safetensors")
    quarter = find_suite("cifar10-resnet56-quarter")
    entries = {entry.title: entry for entry in quarter.criteria}
    chosen = (entries["foad"], entries["foad-reconstruction"], entries["l1"])
    suite = quarter.model_copy(update={"seeds": 1, "criteria": chosen})
    outcome = run_suite(suite, tmp_path, data_root=ROOT, quiet=True)
    foad, bare, l1 = outcome.records
    assert [record.accuracy.base for record in outcome.records] == [pytest.approx(0.9361, abs=1e-4)] * 3
    assert foad.after == bare.after
    assert foad.after.widths == l1.after.widths
    assert abs(foad.after.flops / foad.before.flops - 0.75) <= 0.01
    assert foad.accuracy.one_shot_bn > 0.88
    assert foad.accuracy.one_shot > bare.accuracy.one_shot
    assert foad.accuracy.one_shot_bn > bare.accuracy.one_shot_bn > bare.accuracy.one_shot
    assert "Δ foad" in render(tmp_path)
