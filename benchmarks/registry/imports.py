"""Modules and files of the user that register criteria, models or data."""

from __future__ import annotations

from collections.abc import Iterable

from ...utils.user_code import UserCodeError, import_place
from ..errors import SettingsError


def import_all(names: Iterable[str]) -> None:
    """Import modules by dotted name, or Python files by a path that ends in ``.py``; each once in a process.

    Raises:
        SettingsError: if one does not exist, or its import fails.
    """
    for name in names:
        try:
            import_place(name)
        except UserCodeError as error:
            raise SettingsError(f"import: {error}") from error
