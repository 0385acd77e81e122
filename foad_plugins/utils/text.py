"""Parts of messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "enumerate_some", "printable", "printable_lines"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'a' or 'b'?"`` with at most three of ``known`` that resemble ``word``, else an empty string."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def enumerate_some(items: Iterable[object], limit: int = 5) -> str:
    """The first ``limit`` items, separated by commas, and the number of the others: ``"a, b and 3 more"``."""
    known = list(items)
    shown = ", ".join(map(str, known[:limit]))
    return f"{shown} and {len(known) - limit} more" if len(known) > limit else shown


def printable(text: str) -> str:
    """The text with escapes in the place of control characters, which could change what a terminal shows."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def printable_lines(lines: Iterable[str]) -> str:
    """The lines, each :func:`printable`, as one text."""
    return "\n".join(map(printable, lines))
