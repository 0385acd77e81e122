"""What a user wants otherwise than a suite's file says, without writing a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from .errors import BenchmarkError

__all__ = ["Change", "SuiteFileError"]


class SuiteFileError(BenchmarkError, ValueError):
    """A suite's file that cannot be used, or a change to it; the message names file and line."""


@dataclass(frozen=True)
class Change:
    """One value.

    Attributes:
        path: keys from the top; in a list an index from 0.
        value: as YAML gives it.
    """

    path: tuple[str | int, ...]
    value: Any

    @classmethod
    def parse(cls, text: str) -> Change:
        """From ``"key.key=value"``, the value in YAML.

        Raises:
            SuiteFileError: if it is not written so.
        """
        keys, equals, value = text.partition("=")
        path = tuple(int(key) if key.isdecimal() else key for key in keys.strip().split("."))
        if not equals or "" in path:
            raise SuiteFileError(
                f"--set takes KEY=VALUE, such as conditions.model.name=my_models.py:factory; got {text!r}"
            )
        try:
            return cls(path, yaml.safe_load(value))
        except yaml.YAMLError:
            raise SuiteFileError(f"--set {text}: the value is no valid YAML") from None

    def apply(self, content: Any) -> None:
        """Change a suite's content in place; mappings on the way are made where there are none.

        Raises:
            SuiteFileError: if the path leads into what has no keys, or beyond a list.
        """
        for step, following in zip(self.path, (*self.path[1:], None), strict=True):
            inside = (
                content.keys()
                if isinstance(content, dict)
                else range(len(content))
                if isinstance(content, list)
                else ()
            )
            if step not in inside and not isinstance(content, dict):
                raise SuiteFileError(f"{self}: there is no {step!r} to change")
            if following is None:
                content[step] = self.value
            elif step not in inside or content[step] is None:
                content[step] = {}
            content = content[step]

    def touches(self, place: Sequence[int | str]) -> bool:
        """Whether what stands at a place, or around it, is changed."""
        shared = min(len(place), len(self.path))
        return shared > 0 and tuple(place[:shared]) == self.path[:shared]

    def __str__(self) -> str:
        return f"--set {'.'.join(map(str, self.path))}"
