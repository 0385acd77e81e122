"""Writes the report of a results folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...utils.files import write_atomically
from ..errors import BenchmarkError
from ..records.schema import FailureRecord
from ..records.store import FailureStore, RecordStore
from .charts.style import series_styles
from .data.from_records import leaderboards
from .data.leaderboard import Leaderboard
from .data.stability import stability_reports
from .formatting import escape_markdown
from .html.page import page_bytes
from .text.comparison import ablation_section, comparison_section
from .text.csv_files import runs_csv, summary_csv, widths_csv
from .text.notes import failed
from .text.section import Section
from .text.stability import stability_csv, stability_section


class NoRecordsError(BenchmarkError):
    """A results folder without a record that can be read."""


def render(folder: Path) -> str:
    """Write tables and charts from a folder's records; return a short version for a terminal, 100 columns wide.

    ``leaderboard.md`` has a section for each table or report of stability, with one chart each as ``*.png``.
    ``leaderboard.csv`` has a line for each run, ``summary.csv`` one for each row, ``widths.csv`` one for each layer of
    each row, and ``stability.csv``, where stability was measured, one for each comparison. ``leaderboard.html`` has
    all tables and charts in one file, to sort, filter and hover over. Everything is computed before the first file is
    written, and every file is replaced in one step.

    Raises:
        NoRecordsError: if there is nothing to show.
    """
    failures = FailureStore(folder / "failures").all()
    boards = leaderboards(RecordStore(folder / "records").all(), failures)
    if not boards:
        raise NoRecordsError(_no_records(folder, failures))
    sections = _sections(boards)
    shown = {board.setup.key for board in boards}
    without_results = [failure for failure in failures if failure.inputs.setup.key not in shown]
    if without_results:
        sections.append(_without_results(without_results))
    texts = {
        "leaderboard.md": "# Leaderboard\n\n" + "\n".join(section.markdown for section in sections),
        "leaderboard.csv": runs_csv(boards, without_results),
        "summary.csv": summary_csv(boards),
        "widths.csv": widths_csv(boards),
    }
    if reports := stability_reports(boards):
        texts["stability.csv"] = stability_csv(reports)
    files = {name: png for section in sections for name, png in section.files.items()}
    files["leaderboard.html"] = page_bytes(boards, without_results)
    for name, content in {**files, **{name: text.encode() for name, text in texts.items()}}.items():
        write_atomically(folder / name, content)
    return "\n\n".join(section.terminal for section in sections)


def _sections(boards: Sequence[Leaderboard]) -> list[Section]:
    """In the order of the boards; a report of stability stands where its first board does."""
    by_first = {report.boards[0].setup.key: report for report in stability_reports(boards)}
    styles, sections = series_styles(boards), list[Section]()
    for board in boards:
        # Charts of the first section have plain names, which other pages may link to.
        suffix = f"-{board.setup.key[:8]}" if sections else ""
        if board.setup.kind == "comparison":
            sections.append(comparison_section(board, styles, suffix))
        elif board.setup.kind == "ablation":
            sections.append(ablation_section(board, suffix))
        elif report := by_first.get(board.setup.key):
            sections.append(stability_section(report, styles, suffix))
    return sections


def _without_results(failures: Sequence[FailureRecord]) -> Section:
    """Failures of setups that have no result, and so no table."""
    lines = [f"{_setup(failure)}: {line}" for failure in failures for line in failed((failure,))]
    heading = "Without a single result"
    markdown = f"## {heading}\n\n" + "".join(f"- {escape_markdown(line)}\n" for line in lines)
    return Section(markdown, "\n".join([heading, *lines]), {})


def _setup(failure: FailureRecord) -> str:
    setup = failure.inputs.setup
    return f"{setup.suite}, {setup.conditions.target}, {setup.ranking} ranking"


def _no_records(folder: Path, failures: Sequence[FailureRecord]) -> str:
    if failures:
        reasons = "; ".join(failed(tuple(failures)))
        return f"no records in {folder / 'records'}, because every run failed: {reasons}"
    return f"no records in {folder / 'records'}; make some with: foad-bench run SUITE --out {folder}"
