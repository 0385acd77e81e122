"""Names for the things a suite is made of: criteria, models, datasets."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from ...utils.text import did_you_mean
from ...utils.user_code import UserCodeError, describe_error, find_callable
from ..errors import BenchmarkError, SettingsError

T = TypeVar("T")
S = TypeVar("S", bound="Spec")
F = TypeVar("F", bound=Callable[..., Any])


class UnknownNameError(SettingsError):
    """A name that nothing is registered under, or whose module or file has no such factory."""


class Spec(BaseModel):
    """A registered name and the settings that differ from their defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    settings: dict[str, Any] = {}


class Registry(Generic[T]):
    """Maps names to factories, callables that make what a suite names from settings.

    It also knows ``package.module:factory`` and ``path/to/file.py:factory`` for user-defined factories, and
    ``scheme:name`` for each scheme that was added.

    Args:
        kind: what the factories make, in the singular, for error messages (``"criterion"``).
        given: how many leading arguments the harness passes; the parameters after them are the settings.
        product: the class that a factory's result must have; None if that is not checked.
    """

    def __init__(self, kind: str, given: int = 0, product: type | None = None) -> None:
        self.kind = kind
        self._given = given
        self._product = product
        self._factories: dict[str, Callable[..., T]] = {}
        self._schemes: dict[str, Callable[[str], Callable[..., T]]] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """A decorator that adds a factory under ``name``.

        Raises:
            ValueError: if the name is empty or taken; a silent replacement would change what records mean.
        """

        def add(factory: F) -> F:
            if not name:
                raise ValueError(f"a {self.kind} needs a name that is not empty")
            if name in self._factories:
                raise ValueError(f"{self.kind} name {name!r} is taken by {self._factories[name]!r}")
            self._factories[name] = factory
            return factory

        return add

    def scheme(self, prefix: str) -> Callable[[F], F]:
        """A decorator for a function that maps ``rest`` of a name ``prefix:rest`` to a factory.

        The function raises a SettingsError for a ``rest`` that it does not know.
        """

        def add(find: F) -> F:
            self._schemes[prefix] = find
            return find

        return add

    def get(self, name: str) -> Callable[..., T]:
        """The factory that ``name`` means.

        Raises:
            UnknownNameError: if nothing is registered under it, and no user-defined factory is found.
        """
        if name in self._factories:
            return self._factories[name]
        if ":" not in name:
            known = [*self.names(), *(f"{prefix}:NAME" for prefix in sorted(self._schemes))]
            raise UnknownNameError(
                f"unknown {self.kind} {name!r}{did_you_mean(name, self._factories)} (known: "
                f"{', '.join(known) or 'none'}; your own: package.module:factory or path/to/file.py:factory)"
            )
        prefix, _, rest = name.partition(":")
        if prefix in self._schemes:
            return self._schemes[prefix](rest)
        try:
            return find_callable(name)
        except UserCodeError as error:
            raise UnknownNameError(f"{self.kind} {name!r}: {error}") from error

    def names(self) -> list[str]:
        """All registered names in alphabetical order."""
        return sorted(self._factories)

    def describe(self, name: str) -> str:
        """The first line of a factory's docstring; empty if it has none."""
        return (inspect.getdoc(self.get(name)) or "").split("\n", 1)[0]

    def make(self, spec: Spec, *given: Any) -> T:
        """Call the factory that ``spec`` names.

        Raises:
            UnknownNameError: if there is none.
            SettingsError: if the settings do not fit it, it fails, or its result is of the wrong class.
        """
        settings = self.complete(spec).settings
        try:
            made = self.get(spec.name)(*given, **settings)
        except SettingsError as error:
            raise SettingsError(f"{self.kind} {spec.name!r}: {error}") from error
        except BenchmarkError:
            raise
        except (Exception, SystemExit) as error:
            user_defined = ":" in spec.name and spec.name.partition(":")[0] not in self._schemes
            expected = not user_defined and isinstance(error, (TypeError, ValueError))
            # The line matters in code that the user can change, and for errors that nobody expected.
            text = f": {error}" if expected else f" fails: {describe_error(error)}"
            raise SettingsError(f"{self.kind} {spec.name!r}{text}") from error
        if self._product is not None and not isinstance(made, self._product):
            wanted, found = self._product.__name__, type(made).__name__
            article = "an" if wanted[0] in "AEIOUaeiou" else "a"
            raise SettingsError(f"{self.kind} {spec.name!r} must give {article} {wanted}, got {found}")
        return made

    def complete(self, spec: S) -> S:
        """The spec with the factory's defaults filled in, all values in the form that JSON gives them.

        A record with only the given settings would change its meaning with the next change of a default. A default
        that JSON cannot hold, such as a list of types, is left out.

        Raises:
            UnknownNameError: if no factory has the name.
            SettingsError: if a setting is unknown, a required one is missing, or JSON cannot hold a given value.
        """
        signature = self._settings_signature(spec.name)
        try:
            bound = signature.bind(**spec.settings)
            bound.apply_defaults()
            filled: dict[str, Any] = {}
            for name, value in bound.arguments.items():
                kind = signature.parameters[name].kind
                if kind is inspect.Parameter.VAR_KEYWORD:
                    filled |= value
                elif kind is not inspect.Parameter.VAR_POSITIONAL:
                    filled[name] = value
            written = {name: value for name, value in filled.items() if name in spec.settings or _has_json(value)}
            settings = json.loads(json.dumps(written, allow_nan=False))
        except (TypeError, ValueError) as error:
            accepted = ", ".join(signature.parameters) or "none"
            message = f"{self.kind} {spec.name!r}: {error} (settings it accepts: {accepted})"
            raise SettingsError(message) from None
        return spec.model_copy(update={"settings": settings})

    def _settings_signature(self, name: str) -> inspect.Signature:
        """The parameters of a factory after those that the harness passes."""
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


def _has_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
