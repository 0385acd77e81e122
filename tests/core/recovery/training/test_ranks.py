from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import distributed_recovery


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, Any]]:
    """What each of two ranks made of every scenario. One that hangs is an error."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", distributed_recovery.__name__, str(folder)]
    root = Path(__file__).resolve().parents[4]
    processes = [subprocess.Popen([*command, str(rank), "2"], cwd=root) for rank in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [torch.load(folder / f"results{rank}.pt", weights_only=True) for rank in range(2)]


def test_ranks_with_their_own_images_end_with_the_same_network(found):
    first, second = (rank["together"] for rank in found)
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert first["losses"] == second["losses"]
    assert first["losses"][-1] < first["losses"][0]


def test_a_step_is_one_of_the_images_of_all_ranks(found):
    expected = distributed_recovery.one_step(None)
    for rank in found:
        for name, value in expected.items():
            torch.testing.assert_close(rank["one step"][name], value)


@pytest.mark.parametrize("scenario", ["fails in a step", "fails in a measurement", "has no images"])
def test_an_error_on_one_rank_ends_all_and_leaves_the_networks_unchanged(found, scenario):
    first, second = (rank[scenario] for rank in found)
    assert "of this rank" in first["error"] or "no batch" in first["error"]
    assert "RuntimeError" in second["error"]
    assert "rank" in second["error"]
    assert first["unchanged"]
    assert second["unchanged"]
