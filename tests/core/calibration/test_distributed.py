from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from foad_plugins import FOADImportance
from tests.helpers import distributed as ranks


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def found(request, tmp_path_factory) -> list[dict[str, Any]]:
    """What each rank made of every scenario. One that hangs is an error."""
    world, folder = request.param, tmp_path_factory.mktemp("ranks")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.distributed", str(folder), str(rank), str(world)],
            cwd=Path(__file__).resolve().parents[3],
        )
        for rank in range(world)
    ]
    try:
        assert [process.wait(120) for process in processes] == [0] * world
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [torch.load(folder / f"results{rank}.pt", weights_only=True) for rank in range(world)]


def test_all_ranks_prune_as_one_process(found):
    removed, weights = ranks.prune(list(ranks.images().split(4)), distributed=False)
    assert sum(map(len, removed)) == 9
    for rank in found:
        assert rank["prune"][0] == removed
        assert all(torch.equal(value, rank["prune"][1][name]) for name, value in weights.items())


def test_sums_are_those_of_one_process(found):
    similarity, count, gram, samples = ranks.statistics(ranks.images(), distributed=False)
    shares = {len(part) for part in ranks.shares(len(found))}
    assert 0 in shares
    assert len(shares) > 1
    for rank in found:
        theirs, their_count, their_gram, their_samples = rank["statistics"]
        torch.testing.assert_close(theirs, similarity, atol=1e-6, rtol=0)
        torch.testing.assert_close(their_gram, gram, rtol=1e-6, atol=1e-6)
        assert (their_count, their_samples) == (count, samples) == (11, 704)
        assert torch.equal(theirs, found[0]["statistics"][0])


@pytest.mark.parametrize(
    ("what", "first", "others"),
    [
        (
            "not finite",
            "ValueError: at the input of layer '3': .*NaN",
            "RuntimeError: .*on rank 0 of .*: ValueError: at",
        ),
        ("wrong images", "RuntimeError: .*channels", "RuntimeError: calibration failed on rank 0 of .*: RuntimeError"),
        ("no images", "EmptyDataError: .*no batch", "EmptyDataError: .*no batch"),
        ("other models", "RuntimeError: .*different sets of channels", "RuntimeError: .*different sets of channels"),
    ],
)
def test_an_error_on_one_rank_is_one_on_all(found, what, first, others):
    for rank, expected in zip(found, [first] + [others] * len(found), strict=False):
        assert re.match(expected, str(rank[what]), re.DOTALL), rank[what]


def test_without_a_process_group():
    with pytest.raises(RuntimeError, match="distributed=True needs torch.distributed: start with torchrun"):
        FOADImportance(ranks.images(), distributed=True).calibrate(ranks.network())
