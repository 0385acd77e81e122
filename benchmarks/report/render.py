"""Writes the report of a results folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import BenchmarkError
from ..files import write_atomically
from ..records.schema import FailureRecord
from ..records.store import FailureStore, RecordStore
from .data.from_records import leaderboards
from .data.leaderboard import Leaderboard
from .data.stability import studies
from .formatting import escaped
from .html.page import page_bytes
from .text.ablation import ablation_section
from .text.comparison import comparison_section
from .text.csv_files import runs_csv, summary_csv, widths_csv
from .text.notes import failed
from .text.section import Section
from .text.stability import stability_csv, stability_section

__all__ = ["NoRecordsError", "render"]


class NoRecordsError(BenchmarkError):
    """A results folder without a record that can be read."""


def render(folder: Path) -> str:
    """Write tables and plots from a folder's records; return the tables as text.

    ``leaderboard.md`` has a section for each table or study, with its plots beside it as ``*.png``. ``leaderboard.csv``
    has a line for each run, ``summary.csv`` one for each row, ``widths.csv`` one for each layer of each row, and
    ``stability.csv``, where there is such a study, one for each comparison. ``leaderboard.html`` has all of it
    in one file, to sort, filter and hover over. All is made before the first file is written, and every file is
    replaced in one step.

    Raises:
        NoRecordsError: if there is nothing to show.
    """
    failures = FailureStore(folder / "failures").all()
    boards = leaderboards(RecordStore(folder / "records").all(), failures)
    if not boards:
        raise NoRecordsError(_nothing(folder, failures))
    sections = _sections(boards)
    shown = {board.setup.key for board in boards}
    barren = [failure for failure in failures if failure.inputs.setup.key not in shown]
    if barren:
        sections.append(_barren(barren))
    markdown = "# Leaderboard\n\n" + "\n".join(section.markdown for section in sections)
    files = {name: png for section in sections for name, png in section.files.items()}
    texts = {
        "leaderboard.md": markdown,
        "leaderboard.csv": runs_csv(boards, barren),
        "summary.csv": summary_csv(boards),
        "widths.csv": widths_csv(boards),
    }
    if found := studies(board for board in boards if board.setup.kind == "stability"):
        texts["stability.csv"] = stability_csv(found)
    files["leaderboard.html"] = page_bytes(boards, barren)
    for name, content in {**files, **{name: text.encode() for name, text in texts.items()}}.items():
        write_atomically(folder / name, content)
    return "\n\n".join(section.terminal for section in sections)


def _sections(boards: Sequence[Leaderboard]) -> list[Section]:
    """In the order of the boards, all of a study where its first stands."""
    by_first = {study.boards[0].setup.key: study for study in studies(b for b in boards if b.setup.kind == "stability")}
    sections: list[Section] = []
    for board in boards:
        # Plots of the first section have the plain names, which links from elsewhere may rely on.
        suffix = f"-{board.setup.key[:8]}" if sections else ""
        if board.setup.kind == "comparison":
            sections.append(comparison_section(board, suffix))
        elif board.setup.kind == "ablation":
            sections.append(ablation_section(board, suffix))
        elif study := by_first.get(board.setup.key):
            sections.append(stability_section(study, suffix))
    return sections


def _barren(failures: Sequence[FailureRecord]) -> Section:
    """Failures of setups that have no result, and so no table."""
    lines = [f"{_where(failure)}: {line}" for failure in failures for line in failed((failure,))]
    heading = "Without a single result"
    markdown = f"## {heading}\n\n" + "".join(f"- {escaped(line)}\n" for line in lines)
    return Section(markdown, "\n".join([heading, *lines]), {})


def _where(failure: FailureRecord) -> str:
    setup = failure.inputs.setup
    return f"{setup.suite}, {setup.conditions.target}, {setup.ranking} ranking"


def _nothing(folder: Path, failures: Sequence[FailureRecord]) -> str:
    if failures:
        reasons = "; ".join(failed(tuple(failures)))
        return f"no records in {folder / 'records'}, as every run failed: {reasons}"
    return f"no records in {folder / 'records'}; make some with: foad-bench run SUITE --out {folder}"
