from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins.benchmarks.criteria import CriterionContext, bn_scale

from ..conftest import GroupOf


def test_the_scales_of_the_bn_that_follows(group_of: GroupOf, chain: nn.Module, context: CriterionContext) -> None:
    group = group_of(chain, "conv1")
    expected = chain.bn1.weight.detach().abs().tolist()
    assert min(chain.bn1.weight) < 0
    assert bn_scale(context)(group).tolist() == pytest.approx(expected)
    assert tp.importance.BNScaleImportance(normalizer=None)(group).tolist() == pytest.approx(expected)


def test_several_bn_layers_count_alike(group_of: GroupOf, depthwise: nn.Module, context: CriterionContext) -> None:
    expected = (depthwise.bn1.weight.abs() + depthwise.bn2.weight.abs()).detach() / 2
    assert bn_scale(context)(group_of(depthwise, "depthwise")).tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm2d(6, affine=False)], ids=["none", "without-scales"])
def test_a_group_without_scales_gets_none(
    norm: nn.Module, group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    chain.bn1 = norm.eval()
    assert bn_scale(context)(group_of(chain, "conv1")) is None
    assert bn_scale(context)(group_of(chain, "conv2")) is not None


def test_bn_of_flattened_maps_counts_by_channel(group_of: GroupOf, context: CriterionContext) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 7)
            self.bn = nn.BatchNorm1d(8)
            self.classifier = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.bn(self.conv(x).flatten(1)))

    model = Flat().eval()
    model.bn.weight.data = torch.tensor([1.0, 2, 3, 4, -5, 6, 7, 8])
    group = group_of(model, "conv")
    assert bn_scale(context)(group).tolist() == [2.5, 6.5]
    # Why it is not Torch-Pruning's that is called.
    assert tp.importance.BNScaleImportance(normalizer=None)(group).shape == (8,)
