from __future__ import annotations

from pathlib import Path

import pytest

from foad_plugins.benchmarks.errors import BenchmarkError, SettingsError
from foad_plugins.benchmarks.registry.registry import Registry, Spec, UnknownNameError


def add(context: int, left: int, right: tuple[int, ...] = (1, 2)) -> tuple[int, int, list[int]]:
    """Add things up.

    Not really.
    """
    if left < 0:
        raise ValueError(f"left: at least 0, got {left}")
    return context, left, list(right)


@pytest.fixture
def adders() -> Registry[tuple[int, int, list[int]]]:
    registry: Registry[tuple[int, int, list[int]]] = Registry("adder", given=1)
    registry.register("adder")(add)
    return registry


def test_an_unknown_name_suggests_similar_ones() -> None:
    colors: Registry[int] = Registry("color")
    for name in ("yellow", "green", "red"):
        colors.register(name)(lambda: 1)
    with pytest.raises(UnknownNameError) as error:
        colors.get("yelow")
    assert str(error.value).startswith("unknown color 'yelow'; did you mean 'yellow'? (known: green, red, yellow; ")


def test_without_a_near_name_only_the_known_ones_are_listed() -> None:
    colors: Registry[int] = Registry("color")
    with pytest.raises(UnknownNameError, match=r"unknown color 'xyz' \(known: none;"):
        colors.get("xyz")


def test_names_are_not_replaced_and_not_empty() -> None:
    colors: Registry[int] = Registry("color")
    colors.register("red")(lambda: 1)
    with pytest.raises(ValueError, match="taken"):
        colors.register("red")(lambda: 2)
    with pytest.raises(ValueError, match="not empty"):
        colors.register("")(lambda: 2)
    assert colors.get("red")() == 1
    assert colors.names() == ["red"]


def test_a_factory_gets_what_is_given_and_its_settings(adders: Registry) -> None:
    assert adders.make(Spec(name="adder", settings={"left": 5}), 7) == (7, 5, [1, 2])


def test_defaults_are_filled_in_as_json_has_them(adders: Registry) -> None:
    spec = adders.complete(Spec(name="adder", settings={"left": 5}))
    assert spec.settings == {"left": 5, "right": [1, 2]}
    assert adders.complete(spec) == spec


def test_keywords_that_a_factory_takes_freely_stand_beside_the_others() -> None:
    registry: Registry[dict[str, int]] = Registry("bag")
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
def test_settings_that_do_not_fit(adders: Registry, settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        adders.make(Spec(name="adder", settings=settings), 7)


def test_description_is_the_first_line(adders: Registry) -> None:
    assert adders.describe("adder") == "Add things up."


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A file of the user's own with factories of every kind."""
    path = tmp_path / "own.py"
    path.write_text(
        "def good(context, left=1): \n    'Mine.'\n    return context, left, []\n"
        "def raising(context): raise RuntimeError('no luck')\n"
        "def careful(context, left): raise ValueError('left: odd')\n"
        "def none(context): return None\n"
        "def leaves(context): raise SystemExit(0)\n"
        "def nothing(): pass\n"
    )
    return str(path)


def test_a_user_defined_factory_works_like_the_others(adders: Registry, own: str) -> None:
    spec = adders.complete(Spec(name=f"{own}:good"))
    assert spec.settings == {"left": 1}
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert adders.make(spec, 7) == (7, 1, [])
    assert adders.describe(spec.name) == "Mine."
    with pytest.raises(SettingsError, match=r"wrong.*accepts: left"):
        adders.complete(Spec(name=spec.name, settings={"wrong": 1}))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("raising", r"own.py:raising' fails: RuntimeError: no luck \(.*own.py, line 4\)"),
        ("careful", r"own.py:careful' fails: ValueError: left: odd \(.*own.py, line 5\)"),
        ("leaves", r"own.py:leaves' fails: SystemExit: 0 \(.*own.py, line 7\)"),
        ("nothing", "must take 1 argument of the harness before its settings"),
    ],
)
def test_what_a_users_factory_does_wrong(adders: Registry, own: str, factory: str, message: str) -> None:
    settings = {"left": 1} if factory == "careful" else {}
    with pytest.raises(SettingsError, match=message):
        adders.make(Spec(name=f"{own}:{factory}", settings=settings), 7)


def test_what_comes_out_must_be_what_the_registry_is_for(own: str) -> None:
    registry: Registry[int] = Registry("number", given=1, product=int)
    registry.register("half")(lambda context: 0.5)
    with pytest.raises(SettingsError, match="number '.*:none' must give an int, got NoneType"):
        registry.make(Spec(name=f"{own}:none"), 7)
    with pytest.raises(SettingsError, match="must give an int, got float"):
        registry.make(Spec(name="half"), 7)


def test_registered_factories_keep_the_harness_own_errors(adders: Registry) -> None:
    class DiskError(BenchmarkError):
        pass

    def fail(context: int, kind: str) -> None:
        raise {"ours": DiskError, "bug": RuntimeError, "exit": SystemExit}[kind]("broken")

    adders.register("failing")(fail)
    with pytest.raises(DiskError, match="^broken$"):
        adders.make(Spec(name="failing", settings={"kind": "ours"}), 7)
    for kind, error in (("bug", "RuntimeError"), ("exit", "SystemExit")):
        with pytest.raises(SettingsError, match=rf"adder 'failing' fails: {error}: broken \(.*test_registry.py, line"):
            adders.make(Spec(name="failing", settings={"kind": kind}), 7)


def test_a_default_that_json_cannot_hold_is_left_to_the_factory(adders: Registry) -> None:
    adders.register("typed")(lambda context, left=1, kinds=(int, float): (context, left, list(kinds)))
    spec = adders.complete(Spec(name="typed"))
    assert spec.settings == {"left": 1}
    assert adders.make(spec, 7) == (7, 1, [int, float])
    with pytest.raises(SettingsError, match="JSON"):
        adders.complete(Spec(name="typed", settings={"kinds": [int]}))


def test_a_scheme_finds_what_its_prefix_names(adders: Registry) -> None:
    adders.scheme("plus")(lambda rest: lambda context: (context, int(rest), []))
    assert adders.make(Spec(name="plus:4"), 7) == (7, 4, [])
    with pytest.raises(UnknownNameError, match=r"\(known: adder, plus:NAME; your own: package.module:factory"):
        adders.make(Spec(name="other"), 7)


def test_parameters_that_cannot_be_read(adders: Registry) -> None:
    with pytest.raises(SettingsError, match="its parameters cannot be read"):
        adders.complete(Spec(name="builtins:min"))
