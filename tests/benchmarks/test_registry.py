from __future__ import annotations

import pytest

from foad_plugins.benchmarks.errors import SettingsError
from foad_plugins.benchmarks.registry import FactoryRegistry, Registry, Spec, UnknownNameError


def add(context: int, left: int, right: tuple[int, ...] = (1, 2)) -> tuple[int, int, list[int]]:
    """Add things up.

    Not really.
    """
    if left < 0:
        raise ValueError(f"left: at least 0, got {left}")
    return context, left, list(right)


@pytest.fixture
def adders() -> FactoryRegistry[tuple[int, int, list[int]]]:
    registry: FactoryRegistry[tuple[int, int, list[int]]] = FactoryRegistry("adder", given=1)
    registry.register("adder")(add)
    return registry


def test_an_unknown_name_brings_the_near_ones() -> None:
    colours: Registry[int] = Registry("colour")
    for name in ("yellow", "green", "red"):
        colours.add(name, 1)
    with pytest.raises(UnknownNameError) as error:
        colours.get("yelow")
    assert str(error.value) == "unknown colour 'yelow'; did you mean 'yellow'? (known: green, red, yellow)"


def test_without_a_near_name_only_the_known_ones_are_listed() -> None:
    colours: Registry[int] = Registry("colour")
    with pytest.raises(UnknownNameError, match=r"unknown colour 'xyz' \(known: none\)"):
        colours.get("xyz")


def test_names_are_not_replaced_and_not_empty() -> None:
    colours: Registry[int] = Registry("colour")
    colours.add("red", 1)
    with pytest.raises(ValueError, match="taken"):
        colours.add("red", 2)
    with pytest.raises(ValueError, match="not empty"):
        colours.add("", 2)
    assert colours.get("red") == 1
    assert colours.names() == ["red"]


def test_a_factory_gets_what_is_given_and_its_settings(adders: FactoryRegistry) -> None:
    assert adders.make(Spec(name="adder", settings={"left": 5}), 7) == (7, 5, [1, 2])


def test_defaults_are_filled_in_as_json_has_them(adders: FactoryRegistry) -> None:
    spec = adders.complete(Spec(name="adder", settings={"left": 5}))
    assert spec.settings == {"left": 5, "right": [1, 2]}
    assert adders.complete(spec) == spec


def test_keywords_that_a_factory_takes_freely_stand_beside_the_others() -> None:
    registry: FactoryRegistry[dict[str, int]] = FactoryRegistry("bag")
    registry.register("bag")(lambda *args, first=1, **rest: {"first": first, **rest})
    spec = registry.complete(Spec(name="bag", settings={"other": 2}))
    assert spec.settings == {"first": 1, "other": 2}
    assert registry.make(spec) == {"first": 1, "other": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"left": 1, "wrong": 2}, r"adder 'adder'.*wrong.*accepts: left, right"),
        ({}, r"adder 'adder'.*left"),
        ({"left": object()}, "JSON"),
        ({"left": float("nan")}, "JSON"),
        ({"left": -1}, "left: at least 0, got -1"),
        ({"left": "x"}, "adder 'adder'"),
    ],
)
def test_settings_that_do_not_fit(adders: FactoryRegistry, settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        adders.make(Spec(name="adder", settings=settings), 7)


def test_description_is_the_first_line(adders: FactoryRegistry) -> None:
    assert adders.describe("adder") == "Add things up."
