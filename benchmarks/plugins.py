"""Modules of the user's own that register criteria, models or data sets."""

from __future__ import annotations

from .errors import SettingsError
from .references import import_place

__all__ = ["import_all"]


def import_all(names: tuple[str, ...]) -> None:
    """Import modules by dotted name, or Python files by a path that ends in ``.py``; each once in a process.

    Raises:
        SettingsError: if one is not there, or fails.
    """
    for name in names:
        try:
            import_place(name)
        except SettingsError as error:
            raise SettingsError(f"import: {error}") from error
