"""What the commands ``foad`` and ``foad-bench`` share: errors of arguments and warnings in one line."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO

from ...utils.text import printable_lines

__all__ = ["Parser", "warnings_in_one_line"]


class Parser(argparse.ArgumentParser):
    """A parser that prints an error in one line, without all options before it."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to see the options, and exit with status 2."""
        self.exit(2, f"{self.prog}: {printable_lines([message])} ({self.prog} --help shows the options)\n")


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
