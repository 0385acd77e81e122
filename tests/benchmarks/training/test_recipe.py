from __future__ import annotations

import pytest
from pydantic import ValidationError

from foad_plugins.benchmarks.training.recipe import Recipe, learning_rate_at


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("cosine", [1.0, 0.853553, 0.5, 0.146447]), ("step", [1.0, 1.0, 0.1, 0.01])],
)
def test_schedules_at_the_quarters(schedule: str, expected: list[float]) -> None:
    recipe = Recipe(epochs=1, learning_rate=1.0, schedule=schedule)
    assert [learning_rate_at(recipe, step, 4) for step in range(4)] == pytest.approx(expected, rel=1e-5)


def test_the_papers_recipe_divides_by_ten_after_epochs_80_and_120() -> None:
    recipe = Recipe(epochs=160, learning_rate=0.1, schedule="step")
    by_epoch = [{learning_rate_at(recipe, epoch * 7 + step, 160 * 7) for step in range(7)} for epoch in range(160)]
    assert all(len(rates) == 1 for rates in by_epoch)
    rates = [rates.pop() for rates in by_epoch]
    assert rates == pytest.approx([0.1] * 80 + [0.01] * 40 + [0.001] * 40)


def test_a_warm_up_rises_linearly_to_the_scheduled_rate() -> None:
    recipe = Recipe(epochs=10, learning_rate=1.0, schedule="step", warmup_epochs=2)
    rates = [learning_rate_at(recipe, step, 20) for step in range(20)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0] + [1.0] * 6 + [0.1] * 5 + [0.01] * 5)


@pytest.mark.parametrize("wrong", [{"learning_rate": float("nan")}, {"warmup_epochs": 1}, {"feature_layers": ["*"]}])
def test_recipes_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Recipe(**{"epochs": 1, "learning_rate": 0.1, **wrong})


@pytest.mark.parametrize("epochs", [0, 20])
def test_shortened_recipes_can_be_read_back(epochs: int) -> None:
    short = Recipe(epochs=epochs, learning_rate=0.1, warmup_epochs=epochs // 4).shortened()
    assert short.epochs == min(epochs, 1)
    assert short.learning_rate == 0.01
    assert Recipe.model_validate(short.model_dump()) == short
