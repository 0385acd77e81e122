"""What the command line prints in one line."""

from __future__ import annotations

__all__ = ["CommandError", "UsageError"]


class CommandError(Exception):
    """A command that cannot go on; the message tells the user what to change. Exit status 1."""


class UsageError(CommandError):
    """Arguments that cannot be, whatever the files and the machine are like. Exit status 2."""
