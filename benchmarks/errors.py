"""The harness's own errors, which the command line prints without a traceback."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Base class of errors whose message names what the user can change."""


class SettingsError(BenchmarkError, ValueError):
    """Settings that do not fit what they are given to."""
