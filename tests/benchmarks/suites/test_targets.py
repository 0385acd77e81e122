from __future__ import annotations

import pytest
from pydantic import ValidationError

from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.suites.targets import Target


@pytest.mark.parametrize(
    "wrong",
    [
        {"flops_reduction": 0},
        {"flops_reduction": 1.0},
        {"flops_reduction": 1.5},
        {"params_reduction": -0.1},
        {"params_reduction": float("nan")},
        {"latency_reduction": 0.5},
        {"operating_point": {"neighbors": 0}},
        {"operating_point": {"threshold": 1.1}},
        {"operating_point": {}, "flops_reduction": 0.5},
        {"operating_point": {}, "params_reduction": 0.5},
    ],
)
def test_impossible_targets(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Target.model_validate(wrong)


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
