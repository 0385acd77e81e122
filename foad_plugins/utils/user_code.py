"""What the user names as ``package.module:name`` or ``path/to/file.py:name``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import operator
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .text import did_you_mean

__all__ = ["UserCodeError", "describe_error", "find_callable", "import_place"]


class UserCodeError(ValueError):
    """A place that is written wrongly, does not exist, cannot be imported, or holds nothing that can be called."""


def find_callable(name: str) -> Callable[..., Any]:
    """The callable at the place that ``name`` gives.

    Modules are found as by Python, and in the current folder too. A file is run once in a process; what it imports is
    also searched for in its folder. Both folders are searched last, so that they hide no installed package.

    Args:
        name: ``package.module:attribute`` or ``path/to/file.py:attribute``; the attribute may be dotted.

    Raises:
        UserCodeError: the module or file does not exist or cannot be imported, has no such attribute, or the attribute
            cannot be called.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not all(part.isidentifier() for part in attribute.split(".")):
        raise UserCodeError("write package.module:factory or path/to/file.py:factory")
    module = import_place(place)
    try:
        found = operator.attrgetter(attribute)(module)
    except AttributeError:
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserCodeError(f"{place} has no attribute {attribute!r}{did_you_mean(attribute, names)}") from None
    if not callable(found):
        raise UserCodeError(f"{attribute} must be callable, got {type(found).__name__}")
    known: Callable[..., Any] = found
    return known


def import_place(place: str) -> ModuleType:
    """The module of that dotted name, or the Python file at a path that ends in ``.py``.

    Raises:
        UserCodeError: it does not exist, or its import fails.
    """
    try:
        return _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    except UserCodeError:
        raise
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"importing {place} fails: {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """An exception of the user's code in one line: type, message, and the line it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    text = f"{type(error).__name__}: {error}"
    # A single frame is that of the call itself, as for wrong arguments.
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else text


def _from_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserCodeError(f"{name} is neither a module's name nor a file that ends in .py")
    _search(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # An existing module may itself import a missing one.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise UserCodeError(f"there is no module {error.name}, installed or in {Path.cwd()}") from None


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserCodeError(f"there is no file {path.absolute()}")
    path = path.resolve()
    name = f"foad_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserCodeError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    _search(path.parent)
    # Registered before it is run, because dataclasses and pickle look modules up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _search(folder: Path) -> None:
    """Append a folder to the search path; at the end, so that it hides no installed package."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
