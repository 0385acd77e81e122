"""Errors that the command line prints in one line."""

from __future__ import annotations

__all__ = ["CommandError", "UsageError"]


class CommandError(Exception):
    """A command that cannot continue; the message names what to change. Exit status 1."""


class UsageError(CommandError):
    """Arguments that are wrong whatever the files and the machine. Exit status 2."""
