from __future__ import annotations

import doctest
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins.benchmarks.criteria import (
    CRITERIA,
    CriterionContext,
    CriterionSpec,
    build_criterion,
    register_criterion,
)
from foad_plugins.benchmarks.criteria import register as build
from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry.registry import Spec

from ..conftest import GroupOf


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What a test registers is removed after it."""
    known = dict(CRITERIA._factories)
    yield
    CRITERIA._factories.clear()
    CRITERIA._factories.update(known)


def scores(spec: Spec, context: CriterionContext, group: tp.Group) -> list[float]:
    return build_criterion(spec, context)(group).tolist()


def function_of_a_group(group, scale=2.0):
    """By a plain function."""
    return torch.arange(len(group[0].idxs)) * scale


def annotated_function(members: tp.Group, scale: float = 2.0) -> torch.Tensor:
    """By a plain function."""
    return torch.arange(len(members[0].idxs)) * scale


def factory(context, scale=2.0):
    """By a plain function."""
    assert isinstance(context, CriterionContext)
    return lambda group: torch.arange(len(group[0].idxs)) * scale


def annotated_factory(run: CriterionContext, scale: float = 2.0) -> Callable[[Any], torch.Tensor]:
    """By a plain function."""
    return factory(run, scale)


class WithContext:
    """By a plain function."""

    def __init__(self, context: CriterionContext, scale: float = 2.0) -> None:
        assert isinstance(context, CriterionContext)
        self.scale = scale

    def __call__(self, group: tp.Group) -> torch.Tensor:
        return torch.arange(len(group[0].idxs)) * self.scale


class AnImportance(tp.importance.Importance):
    """By a plain function."""

    def __init__(self, scale: float = 2.0) -> None:
        self.scale = scale

    def __call__(self, group: tp.Group) -> torch.Tensor:
        return torch.arange(len(group[0].idxs)) * self.scale


class KeywordImportance(AnImportance):
    """By a plain function."""

    def __init__(self, *, scale: float = 2.0) -> None:
        super().__init__(scale)


@pytest.mark.parametrize(
    "criterion",
    [
        function_of_a_group,
        annotated_function,
        factory,
        annotated_factory,
        WithContext,
        AnImportance,
        KeywordImportance,
    ],
)
def test_every_form_scores_takes_settings_and_is_described(
    criterion: Callable[..., Any], group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    assert register_criterion("mine")(criterion) is criterion
    group = group_of(chain, "conv1")
    assert scores(Spec(name="mine"), context, group) == [0, 2, 4, 6, 8, 10]
    assert scores(Spec(name="mine", settings={"scale": 0.5}), context, group) == [0, 0.5, 1, 1.5, 2, 2.5]
    assert CRITERIA.complete(CriterionSpec(name="mine")).settings == {"scale": 2.0}
    assert CRITERIA.describe("mine") == "By a plain function."
    with pytest.raises(SettingsError, match=r"mine.*wrong.*accepts: scale"):
        build_criterion(Spec(name="mine", settings={"wrong": 1}), context)


def test_an_importance_of_torch_pruning_as_it_is(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    class Plain(tp.importance.Importance):
        """Without an __init__."""

        def __call__(self, group: tp.Group) -> torch.Tensor:
            return torch.arange(6)

    register_criterion("plain")(Plain)
    register_criterion("theirs")(tp.importance.RandomImportance)
    register_criterion("their-magnitude")(tp.importance.MagnitudeImportance)
    register_criterion("magnitude")(lambda context, p=2: tp.importance.MagnitudeImportance(p))
    register_criterion("an-instance")(tp.importance.MagnitudeImportance())
    group = group_of(chain, "conv1")
    assert scores(Spec(name="plain"), context, group) == [0, 1, 2, 3, 4, 5]
    assert len(scores(Spec(name="theirs"), context, group)) == 6
    expected = scores(Spec(name="an-instance"), context, group)
    assert scores(Spec(name="magnitude"), context, group) == expected
    # Its default for the types of layers has no form in JSON.
    spec = CRITERIA.complete(CriterionSpec(name="their-magnitude"))
    assert (spec.settings["p"], "target_types" in spec.settings) == (2, False)
    assert scores(spec, context, group) == expected


def test_each_run_gets_an_importance_of_its_own(context: CriterionContext) -> None:
    register_criterion("mine")(AnImportance)
    assert build_criterion(Spec(name="mine"), context) is not build_criterion(Spec(name="mine"), context)


class Vague(tp.importance.Importance):
    def __init__(self, ctx) -> None: ...

    def __call__(self, group: tp.Group) -> None: ...


class NoImportance:
    def __init__(self, scale: float = 1.0) -> None: ...


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (lambda: None, r"`context`.*`group`.*got none"),
        (lambda x: None, r"`context`.*`group`.*got `x`"),
        (Vague, r"'Vague'.*`ctx`.*context or a setting"),
        (NoImportance, r"'NoImportance'.*`context`.*Importance"),
        (3, r"a function or a class.*int"),
    ],
)
def test_unclear_criteria_are_refused(criterion: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        register_criterion("mine")(criterion)
    assert "mine" not in CRITERIA.names()


def test_names_are_taken_once(context: CriterionContext) -> None:
    with pytest.raises(ValueError, match="taken"):
        register_criterion("l1")(function_of_a_group)


def test_the_example_works(group_of: GroupOf, chain: nn.Module, context: CriterionContext) -> None:
    assert doctest.testmod(build).failed == 0
    expected = [filter_.abs().max().item() ** 2 for filter_ in chain.conv1.weight]
    spec = Spec(name="loudest-weight", settings={"power": 2})
    assert scores(spec, context, group_of(chain, "conv1")) == pytest.approx(expected)
    assert CRITERIA.describe("loudest-weight") == "Largest weight of each filter of the group's first layer."
