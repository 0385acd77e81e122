from __future__ import annotations

import pytest
import torch

from foad_plugins.benchmarks.datasets.stratified import stratified_head


def literal(labels: list[int], limit: int) -> list[int]:
    """Class after class takes its next image, in rounds."""
    waiting = {label: [i for i, other in enumerate(labels) if other == label] for label in sorted(set(labels))}
    rounds: list[int] = []
    while any(waiting.values()):
        rounds += sorted(numbers.pop(0) for numbers in waiting.values() if numbers)
    return sorted(rounds[:limit])


@pytest.mark.parametrize("limit", [1, 3, 7, 12, 30])
def test_classes_take_turns(limit: int) -> None:
    labels = torch.tensor([0, 0, 0, 0, 0, 2, 2, 1, 1, 1, 4, 0])
    assert stratified_head(labels, limit, "limit_train").tolist() == literal(labels.tolist(), limit)


def test_no_limit_takes_all() -> None:
    assert stratified_head(torch.tensor([1, 0, 1]), None, "limit_train").tolist() == [0, 1, 2]


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_out_of_range(limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit_test: at least 1, or None for all, got {limit}"):
        stratified_head(torch.tensor([1, 0]), limit, "limit_test")
