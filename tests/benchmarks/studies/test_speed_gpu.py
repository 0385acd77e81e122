from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from foad_plugins.benchmarks.studies.speed import gpu as speed_gpu
from foad_plugins.benchmarks.studies.speed.gpu_page import write_page

DOCS = Path(__file__).parents[3] / "docs"


def test_the_committed_page_is_that_of_its_record(tmp_path: Path) -> None:
    write_page(json.loads((DOCS / "measurements" / "speed-gpu.json").read_text()), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (DOCS / "measurements" / "speed-gpu.md").read_text()


@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
def test_it_runs_on_a_cpu_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = "--rounds 1 --side 32 --batch 2 --batches 1 --small 4 --channels 16"
    out = tmp_path / "speed.json"
    monkeypatch.setattr(sys, "argv", ["speed_gpu", "--device", "cpu", *sizes.split(), "--out", str(out)])
    speed_gpu.main()
    found = {row["what"]: row["value"] for row in json.loads(out.read_text())["rows"]}
    assert found["VGG-16's 13 maps: same kept lists as on a CPU, share"] == 1
    # With one round the difference of two times may be below zero.
    assert all(math.isfinite(value) for value in found.values())
