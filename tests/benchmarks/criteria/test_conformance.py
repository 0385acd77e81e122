"""What every registered criterion must do; a new one is tested by being registered."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance
from foad_plugins.benchmarks.criteria import CRITERIA, CriterionContext, CriterionSpec, build_criterion

from ..conftest import GroupOf

EVERY = pytest.mark.parametrize("name", CRITERIA.names())


def build(name: str, context: CriterionContext) -> Callable[[tp.Group], torch.Tensor]:
    return build_criterion(CriterionSpec(name=name), context)


def test_the_expected_criteria_are_there() -> None:
    expected = {"foad", "l1", "l2", "lamp", "bn-scale", "fpgm", "hrank", "chip", "taylor", "random"}
    assert expected <= set(CRITERIA.names())


@EVERY
@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_one_finite_score_for_each_channel(
    name: str, layer: str, group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    scores = build(name, context)(group_of(chain, layer))
    assert scores.shape == (chain.get_submodule(layer).out_channels,)
    assert scores.isfinite().all()
    assert scores.unique().numel() > 1


@EVERY
def test_equal_inputs_give_equal_scores(
    name: str, group_of: GroupOf, residual: nn.Module, context: CriterionContext
) -> None:
    torch.manual_seed(1)
    first = build(name, context)(group_of(residual, "stem"))
    torch.manual_seed(2)
    second = build(name, context)(group_of(copy.deepcopy(residual), "stem"))
    assert torch.equal(first, second)


@EVERY
def test_no_trace_is_left(name: str, group_of: GroupOf, chain: nn.Module, context: CriterionContext) -> None:
    group = group_of(chain, "conv1")
    chain.train()
    chain.bn1.eval()
    flags = [module.training for module in chain.modules()]
    state = copy.deepcopy(chain.state_dict())
    pixels = context.images.clone()
    random_state = torch.get_rng_state()
    build(name, context)(group)
    assert [module.training for module in chain.modules()] == flags
    assert all(torch.equal(value, state[key]) for key, value in chain.state_dict().items())
    assert all(parameter.grad is None for parameter in chain.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in chain.modules())
    assert torch.equal(context.images, pixels)
    assert torch.equal(torch.get_rng_state(), random_state)


@EVERY
def test_unknown_settings_are_refused(name: str, context: CriterionContext) -> None:
    with pytest.raises(ValueError, match=f"{name}.*no_such_setting"):
        build_criterion(CriterionSpec(name=name, settings={"no_such_setting": 1}), context)


@pytest.mark.parametrize("settings", [{"neighbors": 0}, {"threshold": 1.5}, {"order": "sideways"}])
def test_foad_refuses_settings_out_of_range(settings: dict[str, object], context: CriterionContext) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        build_criterion(CriterionSpec(name="foad", settings=settings), context)


def test_foad_hands_its_settings_and_images_on(group_of: GroupOf, chain: nn.Module, context: CriterionContext) -> None:
    spec = CriterionSpec(name="foad", settings={"neighbors": 3, "threshold": 0.2, "order": "rounds"})
    ours = build_criterion(spec, context)
    assert (ours.neighbors, ours.threshold, ours.order) == (3, 0.2, "rounds")
    group = group_of(chain, "conv1")
    expected = FOADImportance(context.images, neighbors=3, threshold=0.2, order="rounds")(group)
    assert torch.equal(ours(group), expected)


def test_random_differs_between_seeds_and_groups(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    group = group_of(chain, "conv1")
    scorer = build("random", context)
    first, second = scorer(group), scorer(group)
    other = build("random", CriterionContext(context.images, context.seed + 1))(group)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
