"""Errors that the command line prints in one line."""

from __future__ import annotations

import os

from ...utils.text import printable

__all__ = ["CommandError", "UsageError", "in_one_line"]


class CommandError(Exception):
    """A command that cannot continue; the message names what to change. Exit status 1."""


class UsageError(CommandError):
    """Arguments that are wrong whatever the files and the machine. Exit status 2."""


def in_one_line(error: Exception) -> str:
    """The message of an error, with its type where the message alone may not show what is wrong."""
    message = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        # Without the number that the operating system has for it.
        message = f"{os.fspath(error.filename)!r}: {error.strerror}"
    text = printable(" ".join(message.split()))
    known = isinstance(error, (CommandError, ValueError, RuntimeError, OSError, ImportError)) and text
    return text if known else f"{type(error).__name__}: {text}"
