from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foad_plugins.benchmarks.criteria import CHIP, CriterionContext, HRank, chip
from foad_plugins.benchmarks.criteria.chip import MapMatrices
from foad_plugins.benchmarks.criteria.hrank import rank_sums

from ..conftest import GroupOf


def independence_by_svd(maps: torch.Tensor) -> list[float]:
    """Sui et al. 2021, literally: a singular value decomposition for every image and every zeroed channel."""
    images, channels = maps.shape[:2]
    totals = [0.0] * channels
    for n in range(images):
        matrix = maps[n].double().reshape(channels, -1)
        whole = torch.linalg.svdvals(matrix).sum().item()
        for c in range(channels):
            zeroed = matrix.clone()
            zeroed[c] = 0
            totals[c] += whole - torch.linalg.svdvals(zeroed).sum().item()
    return [total / images for total in totals]


def mean_independence(maps: torch.Tensor) -> list[float]:
    return MapMatrices.of(maps).independence().mean(0).tolist()


@pytest.mark.parametrize(
    "shape", [(3, 4, 6, 5), (2, 9, 2, 3), (2, 4, 2, 2), (3, 1, 4, 4), (3, 5, 1, 1), (3, 5), (2, 4, 7), (2, 3, 2, 2, 2)]
)
def test_equals_the_loops(shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu()
    assert mean_independence(maps) == pytest.approx(independence_by_svd(maps), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 6, 5, 5), (2, 12, 2, 3)], ids=["wide", "tall"])
def test_chunks_change_nothing(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole = MapMatrices.of(maps).independence()
    monkeypatch.setattr(chip, "_ENTRIES", 100)
    assert torch.allclose(MapMatrices.of(maps).independence(), whole)


@pytest.mark.parametrize("shape", [(2, 6, 5, 5), (2, 12, 2, 3)], ids=["wide", "tall"])
def test_dead_channels_have_none_and_copies_less_than_what_is_alone(shape: tuple[int, ...]) -> None:
    # Channel 0 lies in no other's span; 2 repeats 1; 3 is dead.
    maps = torch.zeros(shape)
    maps[:, 0, 0, 0] = 1
    maps[:, 1, 1, 1] = 1
    maps[:, 2, 1, 1] = 1
    scores = MapMatrices.of(maps).independence().mean(0)
    assert scores[3:].tolist() == [0.0] * (shape[1] - 3)
    assert scores[0].item() == pytest.approx(1)
    assert scores[1:3].tolist() == pytest.approx([2**0.5 - 1] * 2)


def test_scores_are_of_maps_after_bn_and_relu_and_before_pooling(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    score = CHIP(context)
    with torch.no_grad():
        first = F.relu(chain.bn1(chain.conv1(context.images)))
        second = F.relu(chain.bn2(chain.conv2(chain.pool(first))))
    assert score(group_of(chain, "conv1")).tolist() == pytest.approx(independence_by_svd(first), rel=1e-5)
    assert score(group_of(chain, "conv2")).tolist() == pytest.approx(independence_by_svd(second), rel=1e-5)


class Tokens(nn.Module):
    """A Linear layer on the positions of a map, behind which channels are last."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 4, 1)
        self.mix = nn.Linear(4, 5)
        self.classifier = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.relu(self.mix(self.embed(x).movedim(1, -1))).mean((1, 2)))


def test_channels_of_a_linear_layer_on_tokens_are_last(group_of: GroupOf, context: CriterionContext) -> None:
    torch.manual_seed(0)
    model = Tokens().eval()
    with torch.no_grad():
        maps = torch.relu(model.mix(model.embed(context.images).movedim(1, -1))).movedim(-1, 1)
    group = group_of(model, "mix")
    assert CHIP(context)(group).tolist() == pytest.approx(independence_by_svd(maps), rel=1e-5)
    assert HRank(context)(group).tolist() == pytest.approx((rank_sums(maps) / len(maps)).tolist())


def test_only_layers_that_are_asked_for_are_decomposed(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(MapMatrices, "independence", lambda self: asked.append(self) or torch.zeros(12, 6))
    score = CHIP(context)
    score(group_of(chain, "conv1"))
    score(group_of(chain, "conv1"))
    assert len(asked) == 1


def test_maps_must_be_finite_and_have_channels() -> None:
    with pytest.raises(ValueError, match="NaN"):
        MapMatrices.of(torch.full((1, 2, 3, 3), torch.nan))
    with pytest.raises(ValueError, match="shape"):
        MapMatrices.of(torch.zeros(3))
