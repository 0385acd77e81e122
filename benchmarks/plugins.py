"""Modules of the user's own that register criteria, models or data sets."""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from pathlib import Path

from .errors import SettingsError
from .files import hash_json

__all__ = ["import_all"]


def import_all(names: tuple[str, ...]) -> None:
    """Import modules by dotted name, or Python files by a path that ends in ``.py``; each once in a process.

    Raises:
        SettingsError: if one is not there, or fails.
    """
    for name in names:
        try:
            if name.endswith(".py"):
                _import_file(Path(name).resolve())
            else:
                import_module(name)
        except Exception as error:
            raise SettingsError(f"import {name}: {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> None:
    # Named by the whole path, so that two files of one name are two modules.
    name = f"_foad_bench_{path.stem}_{hash_json(str(path))[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
