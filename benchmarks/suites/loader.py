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

from ..errors import SettingsError
from .schema import Suite

__all__ = ["OverrideError", "SuiteFileError", "apply_overrides", "find_suite", "read_suite", "suite_names"]

_SUFFIX = ".yaml"
_IN_YAML = {"tuple_type": "Input should be a list", "model_type": "Input should be a mapping of keys and values"}
"""What pydantic says in Python's words, in those of the file."""


class SuiteFileError(SettingsError):
    """A suite's file that cannot be used; the message names file and line."""


def suite_names() -> list[str]:
    """Names of the suites that come with the package, in alphabetical order."""
    folder = files(__package__)
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in folder.iterdir() if entry.name.endswith(_SUFFIX))


def find_suite(name: str, changes: Sequence[str] = ()) -> Suite:
    """The suite of that name, or the one in a YAML file of the user's.

    Args:
        name: one of :func:`suite_names`, or a path that ends in ``.yaml`` or ``.yml``.
        changes: values to replace, as for :func:`~foad_plugins.benchmarks.suites.loader.apply_overrides`.

    Raises:
        SuiteFileError: if there is no such suite or file, or what it says cannot be used.
    """
    if name.endswith((_SUFFIX, ".yml")):
        path = Path(name)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise SuiteFileError(f"{name}: cannot be read ({reason})") from None
        return read_suite(text, name, changes)
    if name not in suite_names():
        near = difflib.get_close_matches(name, suite_names(), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        known = ", ".join(suite_names())
        raise SuiteFileError(f"unknown suite {name!r}{hint} (known: {known}; or give the path of a .yaml file)")
    entry = files(__package__) / (name + _SUFFIX)
    return read_suite(entry.read_text("utf-8"), entry.name, changes)


def read_suite(text: str, source: str, changes: Sequence[str] = ()) -> Suite:
    """Check a suite that is written in YAML.

    Args:
        text: the file's content.
        source: what errors call the file.
        changes: as for :func:`find_suite`.

    Raises:
        SuiteFileError: if it is no YAML, a key stands twice or is unknown, or a value cannot be used; one line for
            each mistake, with the line in the file.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        raise SuiteFileError(f"{place}: no valid YAML, {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SuiteFileError(f"{source}:{line}: no valid YAML, {error.reason}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SuiteFileError(f"{source}: no valid YAML, {error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise SuiteFileError(f"{source}:1: a suite is a mapping of keys and values, such as 'name: my-suite'")
    repeated = [f"{source}:{line}: the key {key!r} stands twice" for key, line in _repeated_keys(root)]
    if repeated:
        raise SuiteFileError("\n".join(repeated))
    try:
        return Suite.model_validate(apply_overrides(content, changes))
    except ValidationError as error:
        wrong = [
            f"{source}:{_line(root, entry['loc'])}{_override_hint(changes, entry['loc'])}: {_reason(entry)}"
            for entry in error.errors()
        ]
        raise SuiteFileError("\n".join(wrong)) from None


def _override_hint(changes: Sequence[str], place: tuple[int | str, ...]) -> str:
    """Names the changes that a mistake at this place may come from."""
    steps = [str(step) for step in place]
    blamed = []
    for change in changes:
        path = change.partition("=")[0].split(".")
        shared = min(len(path), len(steps))
        if shared and path[:shared] == steps[:shared]:
            blamed.append(f"--set {change}")
    return f" (with {' '.join(blamed)})" if blamed else ""


def _reason(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        known = _fields(Suite, error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    message = _IN_YAML.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    # What the validators of the suite say themselves names the value.
    told = error["type"] == "value_error" or isinstance(error["input"], (dict, list, BaseModel))
    given = "" if told else f", got {error['input']!r}"
    return f"{where}: {message}{given}" if where else message


def _fields(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Names of the fields that a place in a suite may have."""
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


def _repeated_keys(node: yaml.Node, seen: set[int] | None = None) -> Iterator[tuple[str, int]]:
    """Keys that a mapping has twice, of which YAML would silently take the last, with their lines from 1."""
    # A node that is used again by an alias, perhaps inside itself, is looked through once.
    seen = set() if seen is None else seen
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            if key.value in keys:
                yield key.value, key.start_mark.line + 1
            keys.add(key.value)
            yield from _repeated_keys(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _repeated_keys(entry, seen)


def _line(root: yaml.Node, path: Sequence[int | str]) -> int:
    """The line, from 1, of a place in the file, or of the nearest place around it that is written there."""
    node, line = root, root.start_mark.line
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
    return line + 1


class OverrideError(SettingsError):
    """An assignment that cannot be read, or that fits nowhere."""


def apply_overrides(content: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
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
