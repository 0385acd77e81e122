"""What the commands ``foad`` and ``foad-bench`` share: numbers of options, and warnings in one line."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from ...utils.text import printable_lines

__all__ = ["positive_int", "warnings_in_one_line"]


def positive_int(text: str) -> int:
    """A whole number of at least 1, as an argparse ``type``."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, got {text}")
    return number


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
        print(f"{program}: warning: {printable_lines(str(message).splitlines())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
