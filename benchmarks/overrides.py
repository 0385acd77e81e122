"""Values of a suite's file changed from the command line: ``conditions.model.name=resnet56``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import yaml

from .errors import SettingsError

__all__ = ["OverrideError", "overridden"]


class OverrideError(SettingsError):
    """An assignment that cannot be read, or that fits nowhere."""


def overridden(content: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A suite's content with some values replaced.

    Args:
        content: as read from YAML; left as it is.
        assignments: each ``KEY=VALUE``, the key dotted (numbers count a list's entries from 0), the value as YAML has
            it. Mappings on the way that are not there yet are made.

    Raises:
        OverrideError: if an assignment has no such form, its value is no YAML, or its key leads through a value.
    """
    content = copy.deepcopy(content)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.split(".")):
            raise OverrideError(f"--set {assignment}: write KEY=VALUE, such as conditions.finetune_recipe.epochs=3")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise OverrideError(f"--set {assignment}: {text!r} is no YAML value") from None
        _assign(content, key.split("."), value, assignment)
    return content


def _assign(content: dict[str, Any], path: list[str], value: Any, assignment: str) -> None:
    place: Any = content
    for number, step in enumerate(path):
        last = number == len(path) - 1
        where = ".".join(path[:number]) or "the suite"
        key: str | int
        if isinstance(place, dict):
            key = step
            if not last and place.get(key) is None:
                place[key] = {}
        elif isinstance(place, list):
            if not step.isdecimal() or int(step) >= len(place):
                raise OverrideError(
                    f"--set {assignment}: {where} has {len(place)} entries, counted from 0, got {step!r}"
                )
            key = int(step)
        else:
            raise OverrideError(f"--set {assignment}: {where} is {place!r}, which has nothing in it")
        if last:
            place[key] = value
        else:
            place = place[key]
