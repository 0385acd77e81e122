from __future__ import annotations

import pytest
from pydantic import ValidationError

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.suites.targets import Target


@pytest.mark.parametrize("wrong", [{"flops_reduction": 0.5}, {"params_reduction": 0.5}])
def test_the_point_of_the_rule_is_a_target_of_its_own(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="operating_point"):
        Target.model_validate({"operating_point": {}, **wrong})


def test_only_an_empty_target_is_free() -> None:
    assert Target().is_free
    assert not Target(flops_reduction=0.5).is_free
    assert not Target(operating_point=Rule()).is_free


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target(), "where each criterion's own rule stops"),
        (Target(flops_reduction=0.5), "FLOPs -50%"),
        (Target(params_reduction=0.871, flops_reduction=0.637), "FLOPs -63.7% and params -87.1%"),
        (Target(operating_point=Rule(threshold=0.25)), "FLOPs of the published rule, t=1 and s=0.25"),
    ],
)
def test_its_text_names_the_size(target: Target, text: str) -> None:
    assert str(target) == text
