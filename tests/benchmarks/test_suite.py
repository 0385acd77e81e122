from __future__ import annotations

import inspect

import pytest
from pydantic import ValidationError

from foad_plugins import prune
from foad_plugins.benchmarks.criteria import CriterionSpec
from foad_plugins.benchmarks.registry import Spec
from foad_plugins.benchmarks.suite import Suite
from foad_plugins.benchmarks.suites import COMPENSATION, QUARTER, QUICKSTART, SUITES
from foad_plugins.ordering import ORDERS


def changed(suite: Suite, **changes: object) -> Suite:
    """The suite with changes, checked as a new one is."""
    return Suite.model_validate({**dict(suite), **changes})


def test_defaults_are_filled_in(tiny_suite: Suite) -> None:
    assert tiny_suite.conditions.dataset.settings == {"test_fraction": 0.25, "split_seed": 0}
    assert tiny_suite.conditions.model.settings == {"widths": [4, 6, 8], "classes": 10}
    assert tiny_suite.criteria[0].settings == {"neighbors": 1, "threshold": 0.0, "order": "rounds"}


@pytest.mark.parametrize("part", ["dataset", "model"])
def test_names_must_be_known(tiny_suite: Suite, part: str) -> None:
    conditions = tiny_suite.conditions.model_copy(update={part: Spec(name="digts")})
    with pytest.raises(ValidationError, match=f"unknown {part} 'digts'"):
        changed(tiny_suite, conditions=conditions)


def test_criteria_must_be_known_and_their_settings_too(tiny_suite: Suite) -> None:
    with pytest.raises(ValidationError, match="did you mean 'hrank'"):
        changed(tiny_suite, criteria=[CriterionSpec(name="h-rank")])
    with pytest.raises(ValidationError, match=r"foad.*neighbours.*accepts: neighbors, threshold, order"):
        changed(tiny_suite, criteria=[CriterionSpec(name="foad", settings={"neighbours": 1})])


def test_titles_must_differ(tiny_suite: Suite) -> None:
    twice = [CriterionSpec(name="foad"), CriterionSpec(name="foad", settings={"order": "backward"})]
    with pytest.raises(ValidationError, match="both called 'foad'"):
        changed(tiny_suite, criteria=twice)
    labelled = [twice[0], twice[1].model_copy(update={"label": "foad backward"})]
    assert [criterion.title for criterion in changed(tiny_suite, criteria=labelled).criteria] == [
        "foad",
        "foad backward",
    ]


@pytest.mark.parametrize(
    "wrong", [{"seeds": 0}, {"criteria": []}, {"name": "../x"}, {"name": ""}, {"extra": 1}, {"reference": "l2"}]
)
def test_impossible_suites(tiny_suite: Suite, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        changed(tiny_suite, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"flops_reduction": 1.0},
        {"flops_reduction": 0},
        {"threads": 0},
        {"extra": 1},
        {"base_weights": "both"},
        {"base_recipe": None},
    ],
)
def test_impossible_conditions(tiny_suite: Suite, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        changed(tiny_suite, conditions={**dict(tiny_suite.conditions), **wrong})


def test_a_suite_survives_json(tiny_suite: Suite) -> None:
    assert Suite.model_validate_json(tiny_suite.model_dump_json()) == tiny_suite


def test_the_quickstart_compares_five_criteria_over_three_seeds_within_two_percent() -> None:
    assert SUITES.get("quickstart") is QUICKSTART
    assert {criterion.name for criterion in QUICKSTART.criteria} == {"foad", "l1", "hrank", "fpgm", "random"}
    assert QUICKSTART.seeds == 3
    assert QUICKSTART.conditions.tolerance == 0.02


def test_the_resnet_suites_pair_every_criterion_with_and_without_compensation() -> None:
    for suite in (COMPENSATION, QUARTER):
        assert SUITES.get(suite.name) is suite
        plain = [entry for entry in suite.criteria if entry.compensate is None]
        compensated = [entry for entry in suite.criteria if entry.compensate == "least_squares"]
        assert [(entry.name, entry.settings) for entry in plain] == [
            (entry.name, entry.settings) for entry in compensated
        ]
        assert {entry.settings["order"] for entry in plain if entry.name == "foad"} == set(ORDERS)
        assert {entry.name for entry in plain} == {"foad", "l1", "fpgm", "hrank", "random"}
        assert all(entry.reestimate_bn for entry in suite.criteria)
        assert suite.conditions.tolerance == 0.01
        assert suite.seeds == 3
    assert COMPENSATION.criteria == QUARTER.criteria
    assert (COMPENSATION.conditions.flops_reduction, QUARTER.conditions.flops_reduction) == (0.5, 0.25)
    assert QUARTER.conditions.finetune_recipe.epochs == 0


def test_the_reference_of_the_resnet_suites_is_what_prune_does_by_default() -> None:
    (entry,) = (entry for entry in COMPENSATION.criteria if entry.title == COMPENSATION.reference)
    defaults = inspect.signature(prune).parameters
    assert entry.settings["order"] == defaults["order"].default
    # With a target "auto" is least squares, and None moves the statistics.
    assert (entry.compensate, entry.reestimate_bn) == ("least_squares", True)
    assert (defaults["compensate"].default, defaults["reestimate_bn"].default) == ("auto", None)
