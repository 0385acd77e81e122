"""What the commands ``foad`` and ``foad-bench`` share: checked numbers, warnings in one line, extras by name."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TextIO

__all__ = ["missing_extra", "positive_int", "warnings_in_one_line"]


def positive_int(text: str) -> int:
    """A whole number of at least 1, as an argparse ``type``."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, got {text}")
    return number


def missing_extra(extra: str, packages: Mapping[str, str]) -> str | None:
    """The error message if packages of an extra are not installed, else None.

    Args:
        extra: its name in pyproject.toml.
        packages: name of the package to install, by name of the module to import.
    """
    missing = [package for module, package in packages.items() if find_spec(module) is None]
    if not missing:
        return None
    install = f'install them with: pip install "foad-plugins[{extra}]"'
    return f"packages are not installed ({', '.join(missing)}); {install}"


@contextmanager
def warnings_in_one_line(program: str) -> Iterator[None]:
    """Print each warning to the standard error as ``program: warning: message``."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        print(f"{program}: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
