"""A part of a report: text for two places, and the files that belong to it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Section"]


@dataclass(frozen=True)
class Section:
    """What is written of one comparison or study.

    Attributes:
        markdown: from its heading on, ends with a line break.
        terminal: the same, but for plots.
        files: what the Markdown refers to, by name.
    """

    markdown: str
    terminal: str
    files: dict[str, bytes]
