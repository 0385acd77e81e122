"""Suites as YAML files: read, checked, and explained line by line where they are wrong."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ...utils.files import open_regular
from ...utils.text import did_you_mean
from ..errors import SettingsError
from .schema import Suite
from .yaml_text import MOST_BYTES, SuiteFileError, line_of, parse_value, parse_yaml

_SUFFIX = ".yaml"
_MOST_LINES, _LONGEST_LINE = 20, 300
_IN_YAML = {
    "tuple_type": "must be a list",
    "model_type": "must be a mapping of keys and values",
    "missing": "is needed and not given",
    "too_short": "must have {min_length} or more items, got {actual_length}",
    "too_long": "must have {max_length} items or fewer, got {actual_length}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be a text",
}
"""pydantic's messages that speak of Python, in the words of YAML."""


def suite_names() -> list[str]:
    """Names of the suites that come with the package, in alphabetical order."""
    names = [path.name for path in files(__package__).iterdir()]
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))


def find_suite(name: str, changes: Sequence[str] = ()) -> Suite:
    """The suite of that name, or the one in a user's YAML file.

    Args:
        name: one of :func:`suite_names`, or a path that ends in ``.yaml`` or ``.yml``.
        changes: values to replace, as for :func:`~foad_plugins.benchmarks.suites.loader.apply_overrides`.

    Raises:
        SuiteFileError: if there is no such suite or file, or its content cannot be used.
    """
    if name.endswith((_SUFFIX, ".yml")):
        try:
            with open_regular(Path(name)) as file:
                text = file.read(MOST_BYTES + 1).decode("utf-8", "strict")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise SuiteFileError(f"{name}: cannot be read ({reason})") from None
        return read_suite(text, name, changes)
    if name not in suite_names():
        known = ", ".join(suite_names())
        raise SuiteFileError(
            f"unknown suite {name!r}{did_you_mean(name, suite_names())} (known: {known}; or give the path of a .yaml "
            "file)"
        )
    bundled = files(__package__) / (name + _SUFFIX)
    return read_suite(bundled.read_text("utf-8"), bundled.name, changes)


def read_suite(text: str, source: str, changes: Sequence[str] = ()) -> Suite:
    """Check a suite that is written in YAML.

    Args:
        text: the file's content.
        source: what errors call the file.
        changes: as for :func:`find_suite`.

    Raises:
        SuiteFileError: if it is no YAML, a key is listed twice or unknown, or a value cannot be used; one line for
            each error, with the line in the file.
    """
    root, content = parse_yaml(text, source)
    try:
        return Suite.model_validate(apply_overrides(content, changes))
    except ValidationError as error:
        found = error.errors()
        lines = [
            _shorten(f"{source}:{line_of(root, each['loc'])}{_override_hint(changes, each['loc'])}: {_reason(each)}")
            for each in found[:_MOST_LINES]
        ]
        if len(found) > _MOST_LINES:
            lines.append(f"and {len(found) - _MOST_LINES} more errors")
        raise SuiteFileError("\n".join(lines)) from None


def _shorten(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}..."


def _override_hint(changes: Sequence[str], path: tuple[int | str, ...]) -> str:
    """Names the ``--set`` arguments that may have caused an error at this field."""
    steps = [str(step) for step in path]
    suspects = []
    for change in changes:
        keys = change.partition("=")[0].split(".")
        shared = min(len(keys), len(steps))
        if shared and keys[:shared] == steps[:shared]:
            suspects.append(f"--set {change}")
    return f" (with {' '.join(suspects)})" if suspects else ""


def _reason(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        known = _fields(Suite, error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    in_yaml = _IN_YAML.get(error["type"])
    if in_yaml is None:
        message = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    else:
        message = in_yaml.format(**error.get("ctx", {}))
    # The messages of the suite's own validators contain the value.
    complete = error["type"] == "value_error" or isinstance(error["input"], (dict, list, BaseModel))
    given = "" if complete else f", got {error['input']!r}"
    return f"{where}: {message}{given}" if where else message


def _fields(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Names of the fields allowed at a path in a suite."""
    for step in path:
        if isinstance(step, str) and step in model.model_fields:
            inner = list(_models(model.model_fields[step].annotation))
            if not inner:
                return []
            model = inner[0]
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


class OverrideError(SettingsError):
    """An assignment that cannot be read, or whose key does not exist."""


def apply_overrides(content: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A suite's content with some values replaced.

    Args:
        content: as read from YAML; unchanged.
        assignments: each ``KEY=VALUE``, the key dotted (numbers count a list's items from 0), the value in YAML.
            Missing mappings on the path are created.

    Raises:
        OverrideError: if an assignment has another form, its value is no YAML, or its key passes through a plain value.
    """
    content = copy.deepcopy(content)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.split(".")):
            message = f"--set {assignment}: write KEY=VALUE, such as conditions.finetune_recipe.epochs=3"
            raise OverrideError(_shorten(message))
        try:
            value = parse_value(text)
        except (yaml.YAMLError, ValueError):
            raise OverrideError(f"{_shorten(f'--set {assignment}')}: the value is no YAML") from None
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
                problem = f"{where} has {len(place)} items, counted from 0, got {step!r}"
                raise OverrideError(_shorten(f"--set {assignment}: {problem}"))
            key = int(step)
        else:
            raise OverrideError(_shorten(f"--set {assignment}: {where} is {place!r}, which has no keys"))
        if last:
            place[key] = value
        else:
            place = place[key]
