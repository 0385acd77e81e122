"""Writes the report of a results folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import BenchmarkError
from ..files import write_atomically
from ..store import RecordStore
from .notes import notes
from .plot import accuracy_over_flops
from .board import Leaderboard
from .summary import leaderboards
from .tables import markdown_section, table

__all__ = ["NoRecordsError", "render"]


class NoRecordsError(BenchmarkError):
    """A results folder without a record that can be read."""


def render(folder: Path) -> str:
    """Write ``leaderboard.md`` and ``accuracy_flops.png`` from a folder's records; return the table.

    A folder that holds records of several setups gets a section and a plot for each, the newest first.

    Raises:
        NoRecordsError: if there is nothing to show.
    """
    boards = leaderboards(RecordStore(folder / "records").all())
    if not boards:
        raise NoRecordsError(f"no records in {folder / 'records'}; make some with: foad-bench run SUITE --out {folder}")
    sections = []
    for board in boards:
        plot = "accuracy_flops.png" if board is boards[0] else f"accuracy_flops-{board.setup.key[:8]}.png"
        write_atomically(folder / plot, accuracy_over_flops(board))
        sections.append(markdown_section(board, plot))
    write_atomically(folder / "leaderboard.md", ("# Leaderboard\n\n" + "\n".join(sections)).encode())
    return "\n\n".join(_terminal(board) for board in boards)


def _terminal(board: Leaderboard) -> str:
    return "\n".join([board.setup.suite, "", table(board), "", *notes(board)])
