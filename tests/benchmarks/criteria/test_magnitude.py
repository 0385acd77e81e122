from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins.benchmarks.criteria import CriterionContext, CriterionSpec, build_criterion
from foad_plugins.benchmarks.criteria.magnitude import lamp_scores

from ..conftest import GroupOf

LAYERS = [nn.modules.conv._ConvNd, nn.Linear]


def score(name: str, context: CriterionContext, group: tp.Group) -> list[float]:
    return build_criterion(CriterionSpec(name=name), context)(group).tolist()


def sums_by_loops(layer: nn.Module, p: int) -> list[float]:
    return [sum(abs(w) ** p for w in filter_.flatten().tolist()) for filter_ in layer.weight.detach()]


def lamp_by_loops(squares: list[float]) -> list[float]:
    """Lee et al. 2021, equation 4, literally: the denominator runs over all that are not smaller."""
    return [square / sum(other for other in squares if other >= square) for square in squares]


@pytest.mark.parametrize(("name", "p"), [("l1", 1), ("l2", 2)])
def test_norms_are_of_the_filters_alone(
    name: str, p: int, group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    expected = sums_by_loops(chain.conv1, p)
    group = group_of(chain, "conv1")
    assert score(name, context, group) == pytest.approx(expected)
    chain.bn1.weight.data[0] = 1000
    chain.conv2.weight.data[:, 0] = 1000
    assert score(name, context, group) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "p"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("network", ["chain", "residual"])
def test_on_such_groups_torch_pruning_gives_the_same(
    name: str, p: int, network: str, group_of: GroupOf, context: CriterionContext, request: pytest.FixtureRequest
) -> None:
    group = group_of(request.getfixturevalue(network), "conv1" if network == "chain" else "stem")
    theirs = tp.importance.MagnitudeImportance(p=p, group_reduction="first", normalizer=None, target_types=LAYERS)
    assert score(name, context, group) == theirs(group).tolist()


@pytest.mark.parametrize(("name", "p"), [("l1", 1), ("l2", 2)])
def test_a_root_that_is_depthwise_leads_torch_pruning_astray(
    name: str, p: int, group_of: GroupOf, depthwise: nn.Module, context: CriterionContext
) -> None:
    """Why ours exists; if this fails, Torch-Pruning's has been repaired and could be used instead."""
    group = group_of(depthwise, "depthwise")
    theirs = tp.importance.MagnitudeImportance(p=p, group_reduction="first", normalizer=None, target_types=LAYERS)
    readers = depthwise.pointwise.weight.detach().abs().pow(p).sum((0, 2, 3))
    assert theirs(group).tolist() == pytest.approx(readers.tolist())
    assert score(name, context, group) == pytest.approx(sums_by_loops(depthwise.conv, p))


def test_lamp_equals_the_loops(group_of: GroupOf, chain: nn.Module, context: CriterionContext) -> None:
    expected = lamp_by_loops(sums_by_loops(chain.conv1, 2))
    assert score("lamp", context, group_of(chain, "conv1")) == pytest.approx(expected)
    assert score("lamp", context, group_of(chain, "conv1", [4, 1])) == pytest.approx([expected[4], expected[1]])
    assert max(expected) == 1


def test_torch_prunings_lamp_mixes_other_weights_in(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    """Why ours exists; its normaliser alone is the same."""
    group = group_of(chain, "conv1")
    theirs = tp.importance.LAMPImportance()
    ours = score("lamp", context, group)
    assert theirs(group).tolist() != pytest.approx(ours, rel=0.1)
    squares = torch.tensor(sums_by_loops(chain.conv1, 2))
    assert theirs._lamp(squares).tolist() == pytest.approx(ours)


def test_dead_filters_have_lamp_score_zero_and_equal_ones_differ() -> None:
    assert lamp_scores(torch.zeros(3)).tolist() == [0, 0, 0]
    assert lamp_scores(torch.tensor([2.0, 0.0, 2.0])).tolist() == [0.5, 0, 1]


def test_concatenated_producers_of_a_depthwise_convolution(group_of: GroupOf, context: CriterionContext) -> None:
    class Concat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 2, 1)
            self.b = nn.Conv2d(1, 3, 1)
            self.depthwise = nn.Conv2d(5, 5, 1, groups=5)
            self.c = nn.Conv2d(5, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.depthwise(torch.cat([self.a(x), self.b(x)], 1)))

    model = Concat()
    expected = sums_by_loops(model.a, 1) + sums_by_loops(model.b, 1)
    assert score("l1", context, group_of(model, "depthwise")) == pytest.approx(expected)
