"""Names for the things a suite is made of: criteria, models, datasets, suites."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from .errors import SettingsError

__all__ = ["FactoryRegistry", "Registry", "Spec", "UnknownNameError"]

T = TypeVar("T")
S = TypeVar("S", bound="Spec")
F = TypeVar("F", bound=Callable[..., Any])


class UnknownNameError(SettingsError):
    """A name that nothing is registered under; the message lists what is known and the nearest names."""


class Spec(BaseModel):
    """A registered name and the settings that are not left to their defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    settings: dict[str, Any] = {}


class Registry(Generic[T]):
    """Maps names to objects of one kind and explains itself when a name is unknown.

    Args:
        kind: what the entries are, in the singular, as error messages should say it (``"criterion"``).
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Register ``entry`` under ``name``.

        Raises:
            ValueError: if the name is empty or taken; a silent replacement would change what records mean.
        """
        if not name:
            raise ValueError(f"a {self.kind} needs a name that is not empty")
        if name in self._entries:
            raise ValueError(f"{self.kind} name {name!r} is taken by {self._entries[name]!r}")
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """The entry registered under ``name``.

        Raises:
            UnknownNameError: if there is none.
        """
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            known = ", ".join(sorted(self._entries)) or "none"
            raise UnknownNameError(f"unknown {self.kind} {name!r}{hint} (known: {known})")
        return self._entries[name]

    def names(self) -> list[str]:
        """All names in alphabetical order."""
        return sorted(self._entries)


class FactoryRegistry(Registry[Callable[..., T]]):
    """A registry of callables that make what a suite names, from settings.

    Args:
        kind: as for :class:`Registry`.
        given: how many leading arguments the harness gives; the parameters behind them are the settings.
    """

    def __init__(self, kind: str, given: int = 0) -> None:
        super().__init__(kind)
        self._given = given

    def register(self, name: str) -> Callable[[F], F]:
        """A decorator that adds a factory under ``name``."""

        def add(factory: F) -> F:
            self.add(name, factory)
            return factory

        return add

    def make(self, spec: Spec, *given: Any) -> T:
        """Call the factory that ``spec`` names.

        Raises:
            UnknownNameError: if there is none.
            SettingsError: if the settings do not fit it.
        """
        settings = self.complete(spec).settings
        try:
            return self.get(spec.name)(*given, **settings)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{self.kind} {spec.name!r}: {error}") from error

    def complete(self, spec: S) -> S:
        """The spec with the factory's defaults filled in, all values as JSON has them.

        A record that held only what was given would change its meaning with the next change of a default.

        Raises:
            UnknownNameError: if no factory has the name.
            SettingsError: if a setting is unknown, a required one is missing, or a value has no form in JSON.
        """
        parameters = list(inspect.signature(self.get(spec.name)).parameters.values())[self._given :]
        signature = inspect.Signature(parameters)
        try:
            bound = signature.bind(**spec.settings)
            bound.apply_defaults()
            settings = json.loads(json.dumps(_flat(bound.arguments, signature), allow_nan=False))
        except (TypeError, ValueError) as error:
            accepted = ", ".join(signature.parameters) or "none"
            message = f"{self.kind} {spec.name!r}: {error} (settings it accepts: {accepted})"
            raise SettingsError(message) from None
        return spec.model_copy(update={"settings": settings})

    def describe(self, name: str) -> str:
        """The first line of an entry's docstring; empty if it has none."""
        return (inspect.getdoc(self.get(name)) or "").split("\n", 1)[0]


def _flat(arguments: Mapping[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """Bound arguments as one level of keywords; what ``**kwargs`` took in stands beside the others."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            flat.update(value)
        elif kind is not inspect.Parameter.VAR_POSITIONAL:
            flat[name] = value
    return flat
