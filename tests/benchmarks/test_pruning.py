from __future__ import annotations

import copy

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import count_flops
from foad_plugins.benchmarks.criteria import CRITERIA, CriterionContext, CriterionSpec, build_criterion
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.pruning import FlopsTargetError, layer_widths, prune_at_ratio, prune_to_flops
from foad_plugins.benchmarks.registry import Spec
from foad_plugins.benchmarks.scoring import ScoreBook

EXAMPLE = torch.zeros(1, 1, 8, 8)


@pytest.fixture
def model() -> nn.Module:
    return build_model(Spec(name="digits-vgg", settings={"widths": (16, 24, 32)}), seed=0).eval()


def book(name: str = "l1") -> ScoreBook:
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return ScoreBook(build_criterion(CriterionSpec(name=name), CriterionContext(images, 0)), name)


@pytest.mark.parametrize("name", CRITERIA.names())
@pytest.mark.parametrize("kept", [0.25, 0.5])
def test_every_criterion_ends_within_two_percent(model: nn.Module, name: str, kept: float) -> None:
    base = count_flops(model, EXAMPLE)
    pruned = prune_to_flops(model, EXAMPLE, book(name), target=kept * base, tolerance=0.02, ignored=["classifier"])
    assert pruned.flops == count_flops(pruned.model, EXAMPLE)
    assert abs(pruned.flops - kept * base) <= 0.02 * base
    assert pruned.model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert pruned.seconds_to_score > 0


def test_no_ratio_comes_nearer(model: nn.Module) -> None:
    base = count_flops(model, EXAMPLE)
    target = 0.37 * base
    scores = book()
    pruned = prune_to_flops(model, EXAMPLE, scores, target=target, tolerance=0.05, ignored=["classifier"])
    others = [
        count_flops(prune_at_ratio(model, EXAMPLE, scores, ratio / 50, ["classifier"]), EXAMPLE)
        for ratio in range(0, 48)
    ]
    assert abs(pruned.flops - target) == min(abs(flops - target) for flops in others)


def test_the_lowest_scores_go_and_the_model_stays(model: nn.Module) -> None:
    state = copy.deepcopy(model.state_dict())
    widths = layer_widths(model)
    norms = model.features[0].weight.detach().abs().sum((1, 2, 3))
    pruned = prune_at_ratio(model, EXAMPLE, book(), 0.5, ["classifier"])
    kept = norms.topk(8).indices.sort().values
    assert torch.equal(pruned.features[0].weight, model.features[0].weight[kept])
    assert layer_widths(model) == widths
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_widths_name_every_layer(model: nn.Module) -> None:
    pruned = prune_at_ratio(model, EXAMPLE, book(), 0.5, ["classifier"])
    assert list(layer_widths(pruned).values()) == [8, 8, 12, 12, 16, 16, 10]
    assert list(layer_widths(pruned))[-1] == "classifier"


def test_torch_prunings_shared_default_dicts_stay_empty(chain: nn.Module) -> None:
    chain.conv2 = nn.Conv2d(6, 4, 3, padding=1, groups=2)
    chain.bn2 = nn.BatchNorm2d(4)
    chain.classifier = nn.Linear(4 * 16, 3)
    defaults = [value for value in tp.pruner.BasePruner.__init__.__defaults__ if isinstance(value, dict)]
    before = [dict(value) for value in defaults]
    prune_at_ratio(chain.eval(), EXAMPLE, book(), 0.3, ["classifier"])
    assert before
    assert [dict(value) for value in defaults] == before


def test_the_network_is_traced_on_a_batch(chain: nn.Module) -> None:
    """Without BN a convolution takes a single image too, and Torch-Pruning would try one first."""
    chain.bn1, chain.bn2 = nn.Identity(), nn.Identity()
    dimensions: set[int] = set()
    chain.conv1.register_forward_pre_hook(lambda layer, args: dimensions.add(args[0].dim()))
    prune_at_ratio(chain, EXAMPLE, book(), 0.5, ["classifier"])
    assert dimensions == {4}


def test_a_target_between_two_widths_cannot_be_met_exactly(model: nn.Module) -> None:
    base = count_flops(model, EXAMPLE)
    with pytest.raises(FlopsTargetError, match=r"the nearest is \d+ at ratio 0\."):
        prune_to_flops(model, EXAMPLE, book(), target=base / 2 + 1, tolerance=0, ignored=["classifier"])


def test_a_target_below_one_channel_a_layer_cannot_be_met(model: nn.Module) -> None:
    with pytest.raises(FlopsTargetError, match="no pruning ratio ends within"):
        prune_to_flops(model, EXAMPLE, book(), target=1, tolerance=1e-4, ignored=["classifier"])


@pytest.mark.parametrize("wrong", [{"target": 0}, {"target": 1e12}, {"tolerance": -1}, {"tolerance": float("nan")}])
def test_arguments_out_of_range(model: nn.Module, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        prune_to_flops(model, EXAMPLE, book(), **{"target": 1000, "tolerance": 0.1, **wrong})
