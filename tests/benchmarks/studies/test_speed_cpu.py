from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from foad_plugins.benchmarks.studies.speed import beside_l1, cpu_page, memory
from foad_plugins.benchmarks.studies.speed.parts import parts_of
from foad_plugins.benchmarks.studies.speed.timing import cpu_seconds
from tests.networks.small_networks import Chain

MEASUREMENTS = Path(__file__).parents[3] / "docs" / "measurements"


@pytest.mark.parametrize(("name", "pages"), [("memory", memory), ("speed", cpu_page), ("speed-beside-l1", beside_l1)])
def test_the_committed_page_is_that_of_its_record(name: str, pages: ModuleType, tmp_path: Path) -> None:
    pages.write_page(json.loads((MEASUREMENTS / f"{name}.json").read_text()), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (MEASUREMENTS / f"{name}.md").read_text()


def test_the_page_of_a_record(tmp_path: Path) -> None:
    rows = [["forward pass of A", 12.0, "ms"], ["whole calibration", 1.25, ""]]
    record = {
        "torch": "2.4.0",
        "torch-pruning": "1.6.1",
        "threads": 1,
        "machine": "x86_64, AVX512",
        "commit": "0123456789abcdef",
        "constants": [5e10, 1e-9, 1e-4],
        "parts": {"A": rows, "B": [["forward pass of B", 7.0, "ms"], ["whole calibration", 2.0, ""]]},
        "others": [["selection", 3.0]],
        "costs": [["A", 1.0, 2.0, 8.0]],
    }
    cpu_page.write_page(json.loads(json.dumps(record)), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    assert ["what", "A", "B"] in lines
    assert ["forward pass", "12 ms", "7 ms"] in lines
    assert ["whole calibration", "1.25", "2"] in lines
    assert ["A", "1.000", "2.000", "0.50", "8"] in lines
    assert "commit 0123456789ab" in text


@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
def test_parts_are_measured_on_the_same_images() -> None:
    rows = list(parts_of("Chain", Chain().eval(), [torch.rand(4, 3, 8, 8)] * 2, 1, cpu_seconds))
    assert rows[0][0] == "forward pass of Chain"
    assert rows[0][2] == "ms"
    assert [unit for _, _, unit in rows[1:]] == [""] * (len(rows) - 1)
    found = {what: value for what, value, _ in rows}
    assert found["whole calibration"] > 0
    assert found["Taylor"] > 0


def test_steps_are_measured_in_this_process_and_in_fresh_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    out = tmp_path / "beside.json"
    monkeypatch.setattr("sys.argv", ["beside_l1", "--networks", "resnet10t", "--rounds", "1", "--out", str(out)])
    beside_l1.main()
    (row,) = json.loads(out.read_text())["rows"]
    assert row[0] == "resnet10t"
    assert min(row[1:]) > 0
    assert f"| {row[4]:.2f} " in out.with_suffix(".md").read_text()
