"""Optional packages, by the extra of this package that installs them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

__all__ = ["missing_extra", "require_extra"]


def missing_extra(extra: str, packages: Mapping[str, str]) -> str | None:
    """The error message if packages of an extra are not installed, else None.

    Args:
        extra: its name in pyproject.toml.
        packages: name of the package to install, by name of the module to import.
    """
    missing = [package for module, package in packages.items() if not _installed(module)]
    if not missing:
        return None
    install = f'install them with: pip install "foad-plugins[{extra}]"'
    return f"packages are not installed ({', '.join(missing)}); {install}"


def require_extra(what: str, extra: str, packages: Mapping[str, str]) -> None:
    """Raise ImportError that starts with ``what`` if packages of an extra are not installed."""
    message = missing_extra(extra, packages)
    if message is not None:
        raise ImportError(f"{what}: {message}")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:
        # A module that another package has replaced, or blocked with None.
        return False
