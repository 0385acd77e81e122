from __future__ import annotations

import copy
import time

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins.benchmarks.runs.cached_scores import BadScoresError, CachedScores, CriterionError
from foad_plugins.benchmarks.runs.profiling import PeakMemory

from ..conftest import GroupOf


def test_a_group_is_scored_once_also_on_a_copy(group_of: GroupOf, chain: nn.Module) -> None:
    asked = []

    def criterion(group: tp.Group) -> torch.Tensor:
        asked.append(group)
        return torch.rand(len(group[0].idxs))

    book = CachedScores(criterion, "mine")
    first = book(group_of(chain, "conv1"))
    again = book(group_of(copy.deepcopy(chain), "conv1"))
    other = book(group_of(chain, "conv2"))
    assert torch.equal(first, again)
    assert len(other) == 5
    assert len(asked) == 2


def test_time_is_that_of_the_criterion_alone(
    group_of: GroupOf, chain: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 12.5, 20.0, 20.25])
    monkeypatch.setattr("foad_plugins.benchmarks.runs.cached_scores.timer", lambda: next(clock))
    book = CachedScores(lambda group: torch.zeros(len(group[0].idxs)), "mine")
    for layer in ("conv1", "conv2", "conv1"):
        book(group_of(chain, layer))
    assert book.seconds == 2.75


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.zeros(5), r"'mine', group of layer 'conv1': expected a tensor of shape \(6,\), got \(5,\)"),
        (torch.zeros(6, 1), r"got \(6, 1\)"),
        ([0.0] * 6, "got list"),
        (torch.zeros(6, dtype=torch.complex64), "expected real numbers, got torch.complex64"),
        (torch.tensor([0, 1, torch.nan, torch.inf, 2, 3]), "2 of 6 scores are NaN or Inf"),
    ],
)
def test_what_is_no_score_for_each_channel(
    group_of: GroupOf, chain: nn.Module, scores: torch.Tensor, message: str
) -> None:
    with pytest.raises(BadScoresError, match=message):
        CachedScores(lambda group: scores, "mine")(group_of(chain, "conv1"))


def test_a_group_that_is_not_pruned_is_no_error(group_of: GroupOf, chain: nn.Module) -> None:
    assert CachedScores(lambda group: None, "mine")(group_of(chain, "conv1")) is None


def test_the_memory_of_the_criterion_alone_is_watched(group_of: GroupOf, chain: nn.Module) -> None:
    def hungry(group: tp.Group) -> torch.Tensor:
        held = torch.ones(8_000_000)
        # The watcher must get its turn, also on a busy machine.
        time.sleep(0.1)
        return held[: len(group[0].idxs)].clone()

    memory = PeakMemory(torch.device("cpu"))
    book = CachedScores(hungry, "mine", memory)
    torch.ones(32_000_000)
    assert memory.peak == 0
    book(group_of(chain, "conv1"))
    assert 30_000_000 < memory.peak < 100_000_000


def test_calibration_counts_as_the_rules_scoring(chain: nn.Module, images: torch.Tensor) -> None:
    memory = PeakMemory(torch.device("cpu"))
    book = CachedScores(lambda group: None, "mine", memory)
    book.calibrate(chain, images)
    assert book.seconds > 0


def test_a_criterion_that_raises_is_named_each_time(group_of: GroupOf, chain: nn.Module) -> None:
    def broken(group: tp.Group) -> torch.Tensor:
        raise ZeroDivisionError("zero")

    book = CachedScores(broken, "mine", PeakMemory(torch.device("cpu")))
    for _ in range(2):
        with pytest.raises(CriterionError, match="^criterion 'mine', group of layer 'conv1': ZeroDivisionError: zero$"):
            book(group_of(chain, "conv1"))
