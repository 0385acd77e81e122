from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foad_plugins.benchmarks.criteria import CriterionContext, ThiNet, thinet
from foad_plugins.benchmarks.criteria.thinet import greedy_order

from ..conftest import GroupOf

EVERYWHERE = 64


def order_by_loops(contributions: torch.Tensor) -> list[int]:
    """Luo et al. 2017, algorithm 1, literally, on contributions (samples, C) of the channels to outputs."""
    removed: list[int] = []
    left = list(range(contributions.shape[1]))
    while left:
        values = [contributions[:, [*removed, channel]].sum(1).square().sum().item() for channel in left]
        # Of equal ones the last.
        best = min(range(len(left)), key=lambda number: (values[number], -number))
        removed.append(left.pop(best))
    return removed


def contributions(reader: nn.Module, inputs: torch.Tensor, size: int = 1) -> torch.Tensor:
    """(samples, C) in double precision: what the reader gives for each channel alone, bias aside."""
    found = []
    reader, inputs = reader.double(), inputs.detach().double()
    for channel in range(inputs.shape[1] // size):
        alone = torch.zeros_like(inputs)
        alone[:, channel * size : (channel + 1) * size] = inputs[:, channel * size : (channel + 1) * size]
        bias = reader.bias.view(-1, *[1] * (inputs.dim() - 2))
        found.append((reader(alone) - bias).detach().flatten())
    reader.float()
    return torch.stack(found, 1)


def order_of(scores: torch.Tensor) -> list[int]:
    return scores.argsort().tolist()


def test_the_greedy_order_equals_the_loops() -> None:
    for seed in range(20):
        samples = torch.randn(30, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert greedy_order(samples.T @ samples) == order_by_loops(samples)


def test_dead_channels_are_removed_first_and_canceling_ones_early() -> None:
    samples = torch.tensor([[5.0, 1.0, 0.0, -5.0], [5.0, -1.0, 0.0, -5.0]]).double()
    assert greedy_order(samples.T @ samples) == [2, 1, 3, 0]
    assert greedy_order(torch.zeros(3, 3)) == [2, 1, 0]


def test_channels_are_ordered_by_the_change_of_the_consumers_outputs(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    with torch.no_grad():
        first = chain.pool(F.relu(chain.bn1(chain.conv1(context.images))))
        second = F.relu(chain.bn2(chain.conv2(first))).flatten(1)
    score = ThiNet(context, positions=EVERYWHERE)
    scores = score(group_of(chain, "conv1"))
    assert order_of(scores) == order_by_loops(contributions(chain.conv2, first))
    assert sorted(scores.tolist()) == pytest.approx([place / 6 for place in range(6)])
    expected = order_by_loops(contributions(chain.classifier, second, size=16))
    assert order_of(score(group_of(chain, "conv2"))) == expected


def test_several_consumers_are_summed(group_of: GroupOf, residual: nn.Module, context: CriterionContext) -> None:
    with torch.no_grad():
        stem = torch.relu(residual.stem(context.images))
        mean = torch.relu(residual.bn(residual.conv(stem)) + stem).mean((2, 3))
    # Each reader counts by its mean over positions: 64 for the convolution, 1 for the classifier.
    both = torch.cat([contributions(residual.conv, stem) / 8, contributions(residual.classifier, mean)])
    group = group_of(residual, "stem")
    assert order_of(ThiNet(context, positions=EVERYWHERE)(group)) == order_by_loops(both)
    assert order_by_loops(both) != order_by_loops(contributions(residual.classifier, mean))


def test_a_few_positions_give_nearly_the_order_of_all(group_of: GroupOf, context: CriterionContext) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 32, 3)
            self.reader = nn.Conv2d(32, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.reader(torch.relu(self.conv(x)))

    model = Wide()
    group = group_of(model, "conv")
    whole = ThiNet(context, positions=EVERYWHERE)(group)
    few = ThiNet(context, positions=3)(group)
    assert not torch.equal(few, whole)
    assert torch.corrcoef(torch.stack([few, whole]))[0, 1] > 0.6
    other = CriterionContext(context.images, context.seed + 1)
    assert not torch.equal(ThiNet(other, positions=3)(group), few)


def test_chunks_change_nothing(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = group_of(chain, "conv1")
    whole = ThiNet(context)(group)
    monkeypatch.setattr(thinet, "_ENTRIES", 100)
    assert torch.equal(ThiNet(context)(group), whole)


def test_transposed_consumers_are_left_out(group_of: GroupOf, context: CriterionContext) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 2, 2))
    assert ThiNet(context)(group_of(model, "0")) is None


@pytest.mark.parametrize("where", ["maps", "kernels"])
def test_nan_names_the_consumer(where: str, group_of: GroupOf, chain: nn.Module, context: CriterionContext) -> None:
    layer = chain.conv1 if where == "maps" else chain.conv2
    layer.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"'conv2'.*NaN"):
        ThiNet(context)(group_of(chain, "conv1"))


def test_positions_out_of_range(context: CriterionContext) -> None:
    with pytest.raises(ValueError, match="positions"):
        ThiNet(context, positions=0)
