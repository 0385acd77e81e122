"""A part of a report: text for two places, and the files that belong to it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """The report of one table, or of one measurement of stability.

    Attributes:
        markdown: from its heading on, ends with a line break.
        terminal: title, main table and warnings, at most 100 columns wide.
        files: charts that the Markdown shows, by name.
    """

    markdown: str
    terminal: str
    files: dict[str, bytes]


def wrap(lines: Sequence[str]) -> str:
    """Lines of at most 100 columns, for a terminal."""
    return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ", break_on_hyphens=False) for line in lines)
