from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from foad_plugins.benchmarks.studies.speed import cpu_page, memory
from foad_plugins.benchmarks.studies.speed.parts import parts_of
from foad_plugins.benchmarks.studies.speed.timing import cpu_seconds
from tests.networks.small_networks import Chain

MEASUREMENTS = Path(__file__).parents[3] / "docs" / "measurements"


@pytest.mark.parametrize(("name", "write_page"), [("speed", cpu_page.write_page), ("memory", memory.write_page)])
def test_the_committed_page_is_that_of_its_record(name, write_page, tmp_path: Path) -> None:
    write_page(json.loads((MEASUREMENTS / f"{name}.json").read_text()), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (MEASUREMENTS / f"{name}.md").read_text()


@pytest.mark.filterwarnings("ignore::foad_plugins.InsufficientDataWarning")
def test_parts_are_measured_on_the_same_images() -> None:
    rows = list(parts_of("Chain", Chain().eval(), [torch.rand(4, 3, 8, 8)] * 2, 1, cpu_seconds))
    assert rows[0][0] == "forward pass of Chain"
    assert rows[0][2] == "ms"
    assert [unit for _, _, unit in rows[1:]] == [""] * (len(rows) - 1)
    found = {what: value for what, value, _ in rows}
    assert found["whole calibration"] > 0
    assert found["Taylor"] > 0
