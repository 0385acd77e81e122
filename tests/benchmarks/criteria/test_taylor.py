from __future__ import annotations

import copy

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional as F

from foad_plugins.benchmarks.criteria import CriterionContext, Taylor

from ..conftest import GroupOf


def squared_changes(model: nn.Module, context: CriterionContext, *names: str) -> list[float]:
    """Molchanov et al. 2019, literally: weight by weight, from autograd's own gradients on a copy."""
    model = copy.deepcopy(model).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    F.cross_entropy(model(context.images), context.labels).backward()
    scores = []
    for channel in range(model.get_submodule(names[0]).out_channels):
        change = 0.0
        for name in names:
            weight = model.get_submodule(name).weight
            for w, g in zip(weight[channel].flatten().tolist(), weight.grad[channel].flatten().tolist(), strict=True):
                change += w * g
        scores.append(change**2)
    return scores


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_equals_the_loops(group_of: GroupOf, chain: nn.Module, context: CriterionContext, layer: str) -> None:
    expected = squared_changes(chain, context, layer)
    assert Taylor(context)(group_of(chain, layer)).tolist() == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_coupled_layers_count_jointly(group_of: GroupOf, residual: nn.Module, context: CriterionContext) -> None:
    expected = squared_changes(residual, context, "stem", "conv")
    assert Taylor(context)(group_of(residual, "stem")).tolist() == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_it_foretells_what_shrinking_a_filter_does_to_the_loss(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    score = Taylor(context)(group_of(chain, "conv1"))

    def loss() -> torch.Tensor:
        return F.cross_entropy(chain(context.images.double()), context.labels)

    chain.double()
    step = 1e-5
    with torch.no_grad():
        before = loss()
        for channel in range(6):
            kept = chain.conv1.weight[channel].clone()
            chain.conv1.weight[channel] *= 1 - step
            assert ((loss() - before) / step).square().item() == pytest.approx(score[channel].item(), rel=1e-2)
            chain.conv1.weight[channel] = kept


def test_torch_prunings_own_version_mixes_channels_up(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    """Why ours exists; if this fails, Torch-Pruning's has been repaired and could be used instead."""
    expected = squared_changes(chain, context, "conv1")
    F.cross_entropy(chain(context.images), context.labels).backward()
    theirs = tp.importance.TaylorImportance(
        multivariable=True, group_reduction="first", normalizer=None, target_types=[nn.modules.conv._ConvNd]
    )
    group = group_of(chain, "conv1")
    assert theirs(group).square().tolist() == pytest.approx(expected, rel=1e-3, abs=1e-9)
    order = [4, 1, 5, 0, 2, 3]
    expected = [expected[channel] for channel in order]
    group = group_of(chain, "conv1", order)
    ours = Taylor(context)(group)
    assert list(group[0].idxs) == order
    assert ours.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert theirs(group).square().tolist() != pytest.approx(expected, rel=1e-1)
    assert list(group[0].idxs) != order


def test_shared_weights_are_one_set(group_of: GroupOf, context: CriterionContext) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 4, 3)
            self.conv2 = nn.Conv2d(4, 4, 1)
            self.conv3 = nn.Conv2d(4, 4, 1)
            self.conv3.weight = self.conv2.weight
            self.classifier = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv2(torch.relu(self.conv1(x)))
            return self.classifier(self.conv3(x).mean((2, 3)))

    model = Twice()
    group = group_of(model, "conv1")
    assert Taylor(context)(group).tolist() == pytest.approx(squared_changes(model, context, "conv1"), rel=1e-3)


def test_labels_are_needed_and_must_fit(group_of: GroupOf, chain: nn.Module, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="labels"):
        Taylor(CriterionContext(images, 0))
    with pytest.raises(ValueError, match=r"labels.*0 to 2.*3 to 3"):
        Taylor(CriterionContext(images, 0, torch.full((12,), 3)))(group_of(chain, "conv1"))
    for labels in (torch.zeros(11, dtype=torch.int64), torch.zeros(12), torch.zeros(12, 1, dtype=torch.int64)):
        with pytest.raises(ValueError, match="labels"):
            CriterionContext(images, 0, labels)


def test_the_network_must_classify(group_of: GroupOf, chain: nn.Module, context: CriterionContext) -> None:
    group = group_of(chain, "conv1")
    chain.classifier = nn.Unflatten(1, (5, 16))
    with pytest.raises(ValueError, match=r"logits.*\(12, 5, 16\)"):
        Taylor(context)(group)
