"""Names for the things a suite is made of: criteria, models, datasets, suites."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from ..errors import BenchmarkError, SettingsError
from .user_code import describe_error, find_factory, is_reference

__all__ = ["FactoryRegistry", "Registry", "Spec", "UnknownNameError"]

T = TypeVar("T")
S = TypeVar("S", bound="Spec")
F = TypeVar("F", bound=Callable[..., Any])


class UnknownNameError(SettingsError):
    """A name that nothing is registered under, or that leads to nothing; the message lists the nearest names."""


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
            raise UnknownNameError(f"unknown {self.kind} {name!r}{hint} (known: {known}{self._also()})")
        return self._entries[name]

    def _also(self) -> str:
        """What else than the registered names is known, as the end of a list."""
        return ""

    def names(self) -> list[str]:
        """All names in alphabetical order."""
        return sorted(self._entries)


class FactoryRegistry(Registry[Callable[..., T]]):
    """A registry of callables that make what a suite names, from settings.

    Beside the registered names it knows ``package.module:factory`` and ``path/to/file.py:factory``, for a callable
    of the user's own that takes the same arguments, and ``scheme:name`` for a scheme that was added.

    Args:
        kind: as for :class:`Registry`.
        given: how many leading arguments the harness gives; the parameters behind them are the settings.
        product: the class of what factories must make; None if that is not checked.
    """

    def __init__(self, kind: str, given: int = 0, product: type | None = None) -> None:
        super().__init__(kind)
        self._given = given
        self._product = product
        self._schemes: dict[str, Callable[[str], Callable[..., T]]] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """A decorator that adds a factory under ``name``."""

        def add(factory: F) -> F:
            self.add(name, factory)
            return factory

        return add

    def scheme(self, prefix: str) -> Callable[[F], F]:
        """A decorator for a function from the rest of a name ``prefix:rest`` to its factory.

        The function raises a SettingsError for a rest that it does not know.
        """

        def add(find: F) -> F:
            self._schemes[prefix] = find
            return find

        return add

    def get(self, name: str) -> Callable[..., T]:
        """The factory that ``name`` means.

        Raises:
            UnknownNameError: if nothing is registered under it, and it leads to no factory of the user's.
        """
        if name in self._entries or not is_reference(name):
            return super().get(name)
        prefix, _, rest = name.partition(":")
        if prefix in self._schemes:
            return self._schemes[prefix](rest)
        try:
            return find_factory(self.kind, name)
        except SettingsError as error:
            raise UnknownNameError(str(error)) from error

    def make(self, spec: Spec, *given: Any) -> T:
        """Call the factory that ``spec`` names.

        Raises:
            UnknownNameError: if there is none.
            SettingsError: if the settings do not fit it, it fails, or what comes out is not what the registry is for.
        """
        settings = self.complete(spec).settings
        try:
            made = self.get(spec.name)(*given, **settings)
        except SettingsError as error:
            raise SettingsError(f"{self.kind} {spec.name!r}: {error}") from error
        except BenchmarkError:
            raise
        except (Exception, SystemExit) as error:
            users = is_reference(spec.name) and spec.name.partition(":")[0] not in self._schemes
            told = not users and isinstance(error, (TypeError, ValueError))
            # Where it happened matters in code that the user can change, and where nobody expected it.
            text = f": {error}" if told else f" fails: {describe_error(error)}"
            raise SettingsError(f"{self.kind} {spec.name!r}{text}") from error
        if self._product is not None and not isinstance(made, self._product):
            wanted, found = self._product.__name__, type(made).__name__
            raise SettingsError(f"{self.kind} {spec.name!r} must give {_article(wanted)} {wanted}, got {found}")
        return made

    def complete(self, spec: S) -> S:
        """The spec with the factory's defaults filled in, all values as JSON has them.

        A record that held only what was given would change its meaning with the next change of a default. A default
        that has no form in JSON, such as a list of types, is left out.

        Raises:
            UnknownNameError: if no factory has the name.
            SettingsError: if a setting is unknown, a required one is missing, or a given value has no form in JSON.
        """
        signature = self._settings(spec.name)
        try:
            bound = signature.bind(**spec.settings)
            bound.apply_defaults()
            filled = _flat(bound.arguments, signature)
            written = {name: value for name, value in filled.items() if name in spec.settings or _has_json(value)}
            settings = json.loads(json.dumps(written, allow_nan=False))
        except (TypeError, ValueError) as error:
            accepted = ", ".join(signature.parameters) or "none"
            message = f"{self.kind} {spec.name!r}: {error} (settings it accepts: {accepted})"
            raise SettingsError(message) from None
        return spec.model_copy(update={"settings": settings})

    def _also(self) -> str:
        schemes = "".join(f", {prefix}:NAME" for prefix in sorted(self._schemes))
        return f"{schemes}; your own: package.module:factory or path/to/file.py:factory"

    def _settings(self, name: str) -> inspect.Signature:
        """The parameters of a factory behind those that the harness gives."""
        factory = self.get(name)
        try:
            parameters = list(inspect.signature(factory).parameters.values())
        except (TypeError, ValueError):
            raise SettingsError(f"{self.kind} {name!r}: its parameters cannot be read, wrap it in a function") from None
        free = [parameter for parameter in parameters if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
        starred = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in free)
        if len(free) < self._given and not starred:
            arguments = f"{self._given} argument{'s' if self._given > 1 else ''} of the harness"
            raise SettingsError(f"{self.kind} {name!r} must take {arguments} before its settings")
        return inspect.Signature(parameters[self._given :])

    def describe(self, name: str) -> str:
        """The first line of an entry's docstring; empty if it has none."""
        return (inspect.getdoc(self.get(name)) or "").split("\n", 1)[0]


def _article(word: str) -> str:
    return "an" if word[0] in "AEIOUaeiou" else "a"


def _has_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


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
