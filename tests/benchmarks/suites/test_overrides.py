from __future__ import annotations

import pytest

from foad_plugins.benchmarks.suites.loader import OverrideError, apply_overrides

CONTENT = {"seeds": 3, "conditions": {"model": {"name": "a"}}, "targets": [{"flops_reduction": 0.5}]}


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("seeds=5", {**CONTENT, "seeds": 5}),
        ("conditions.model.name=my.py:make", {**CONTENT, "conditions": {"model": {"name": "my.py:make"}}}),
        ("targets.0.flops_reduction=0.3", {**CONTENT, "targets": [{"flops_reduction": 0.3}]}),
        ("targets=[{params_reduction: 0.2}]", {**CONTENT, "targets": [{"params_reduction": 0.2}]}),
        (
            "conditions.dataset.settings.size=32",
            {**CONTENT, "conditions": {**CONTENT["conditions"], "dataset": {"settings": {"size": 32}}}},
        ),
        ("reference=null", {**CONTENT, "reference": None}),
        ("description=a=b", {**CONTENT, "description": "a=b"}),
    ],
)
def test_values_are_replaced(assignment: str, expected: dict[str, object]) -> None:
    before = repr(CONTENT)
    assert apply_overrides(CONTENT, [assignment]) == expected
    assert repr(CONTENT) == before


def test_later_assignments_win() -> None:
    assert apply_overrides(CONTENT, ["seeds=1", "seeds=2"])["seeds"] == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("seeds", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("conditions..name=3", "KEY=VALUE"),
        ("seeds={", "no YAML"),
        ("description=2024-99-99", "no YAML"),
        ("seeds=" + "[" * 5000, "no YAML"),
        ("targets.1.flops_reduction=0.3", "targets has 1 items"),
        ("targets.first=1", "targets has 1 items"),
        ("seeds.more=1", "seeds is 3"),
    ],
)
def test_what_cannot_be_assigned(assignment: str, message: str) -> None:
    with pytest.raises(OverrideError, match=message):
        apply_overrides(CONTENT, [assignment])
