from __future__ import annotations

import pytest
from pydantic import ValidationError

from foad_plugins.benchmarks.criteria import CriterionSpec
from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.suites.targets import Target

HALF = Target(flops_reduction=0.5)
POINT = Target(operating_point=Rule(threshold=0.1))
BY_RULE = CriterionSpec(name="foad", rule=Rule(threshold=0.1), label="paper")


def changed(suite: Suite, **changes: object) -> Suite:
    """The suite with changes, checked as a new one is."""
    return Suite.model_validate({**dict(suite), **changes})


def test_defaults_are_filled_in(tiny_suite: Suite) -> None:
    assert tiny_suite.conditions.dataset.settings == {"test_fraction": 0.25, "split_seed": 0}
    assert tiny_suite.conditions.model.settings == {"widths": [4, 6, 8], "classes": 10}
    assert tiny_suite.criteria[0].settings == {"neighbors": 1, "threshold": 0.0, "order": "rounds"}


def test_unknown_criteria_and_settings_are_all_reported(tiny_suite: Suite) -> None:
    wrong = [
        CriterionSpec(name="h-rank"),
        CriterionSpec(name="l1"),
        CriterionSpec(name="foad", settings={"neighbor": 1}),
        CriterionSpec(name="l1"),
    ]
    with pytest.raises(ValidationError) as caught:
        changed(tiny_suite, criteria=wrong)
    errors = {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}
    assert "did you mean 'hrank'" in errors["criteria.0.name"]
    assert "accepts: neighbors, threshold, order" in errors["criteria.2.settings"]
    assert "two criteria have the title 'l1'" in errors["criteria.3.label"]
    assert len(errors) == 3


def test_labels_distinguish_variants_of_one_criterion(tiny_suite: Suite) -> None:
    twice = [CriterionSpec(name="foad"), CriterionSpec(name="foad", settings={"order": "backward"}, label="other")]
    assert [entry.title for entry in changed(tiny_suite, criteria=twice).criteria] == ["foad", "other"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": []},
        {"targets": [HALF, HALF]},
        {"rankings": []},
        {"rankings": ["local", "local"]},
        {"rankings": ["local", "global"], "targets": [Target(flops_reduction=0.5, params_reduction=0.7)]},
        {"image_counts": [16, 32]},
        {"criteria": [BY_RULE, CriterionSpec(name="l1")]},
        {"criteria": [BY_RULE], "targets": [Target(operating_point=Rule(threshold=0.2))]},
        {"targets": [POINT, HALF], "criteria": [BY_RULE]},
    ],
)
def test_impossible_suites(tiny_suite: Suite, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        changed(tiny_suite, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": [HALF], "criteria": [BY_RULE]},
        {"criteria": [BY_RULE, CriterionSpec(name="l1")], "targets": [Target()]},
    ],
)
def test_an_ablation_takes_rules_and_no_targets(tiny_suite: Suite, wrong: dict[str, object]) -> None:
    right = {"kind": "ablation", "targets": [Target()], "criteria": [BY_RULE]}
    assert changed(tiny_suite, **right).criteria_for(Target()) == (BY_RULE,)
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        changed(tiny_suite, **{**right, **wrong})


@pytest.mark.parametrize("counts", [[], [16], [16, 16], [16, 0]])
def test_a_study_of_stability_compares_numbers_of_images(tiny_suite: Suite, counts: list[int]) -> None:
    suite = changed(tiny_suite, kind="stability", image_counts=[16, 32], criteria=[BY_RULE, *tiny_suite.criteria])
    assert [conditions.calibration_images for conditions, _ in suite.tables()] == [16, 32]
    assert len(suite.criteria_for(suite.targets[0])) == 3
    with pytest.raises(ValidationError, match="image_counts"):
        changed(suite, image_counts=counts)


def test_every_target_with_every_ranking_is_a_table_of_the_criteria_that_fit(tiny_suite: Suite) -> None:
    suite = changed(
        tiny_suite, targets=[HALF, POINT], rankings=["local", "global"], criteria=[BY_RULE, *tiny_suite.criteria]
    )
    tables = suite.tables()
    assert [(conditions.target, ranking) for conditions, ranking in tables] == [
        (HALF, "local"),
        (HALF, "global"),
        (POINT, "local"),
        (POINT, "global"),
    ]
    assert all(dict(conditions) == {**dict(suite.conditions), "target": conditions.target} for conditions, _ in tables)
    assert [entry.title for entry in suite.criteria_for(HALF)] == ["foad", "l1"]
    assert [entry.title for entry in suite.criteria_for(POINT)] == ["paper", "foad", "l1"]


def test_smoke_is_short_and_keeps_what_is_compared(tiny_suite: Suite) -> None:
    conditions = tiny_suite.conditions
    long = {
        "base_recipe": {"epochs": 160, "learning_rate": 0.1, "warmup_epochs": 5},
        "calibration_images": 128,
        "latency_batches": [1, 128],
    }
    suite = changed(tiny_suite, seeds=3, conditions={**dict(conditions), **long})
    smoke = suite.smoke()
    assert (smoke.name, smoke.seeds, smoke.conditions.limit_steps) == ("tiny-smoke", 1, 2)
    assert smoke.conditions.base_recipe is not None
    assert smoke.conditions.base_recipe.epochs == smoke.conditions.finetune_recipe.epochs == 1
    assert (smoke.conditions.calibration_images, smoke.conditions.latency_batches) == (16, (1,))
    assert (smoke.targets, smoke.criteria, smoke.rankings) == (suite.targets, suite.criteria, suite.rankings)
    study = changed(suite, kind="stability", image_counts=[512, 16, 64]).smoke()
    assert Suite.model_validate(dict(study)).image_counts == (16, 64)


def test_smoke_leaves_out_what_the_suite_does(tiny_suite: Suite, given_suite: Suite) -> None:
    recipe = given_suite.conditions.finetune_recipe.model_copy(update={"epochs": 0})
    suite = changed(given_suite, conditions={**dict(given_suite.conditions), "finetune_recipe": recipe})
    assert suite.smoke().conditions.finetune_recipe.epochs == 0
    assert suite.smoke().conditions.base_recipe is None
    assert suite.smoke().conditions.latency_batches == ()
