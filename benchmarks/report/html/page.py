"""The leaderboards of a results folder as one HTML page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from ...errors import BenchmarkError
from ...files import write_atomically
from ...records.schema import FailureRecord
from ...records.store import FailureStore, RecordStore
from ..charts.style import PageFigure
from ..data.from_records import leaderboards
from ..data.leaderboard import Leaderboard
from .scripts import packed_libraries
from .sections import Section, sections

__all__ = ["NothingToShowError", "page_bytes", "render_page"]


_MINUS = "\N{MINUS SIGN}"


class NothingToShowError(BenchmarkError):
    """A results folder with neither a record nor a failure that can be read."""


def render_page(folder: Path) -> Path:
    """Write ``leaderboard.html`` from a folder's records and failures; return its path.

    The page fetches nothing and opens from the disk. Equal records give equal bytes, as long as the libraries it
    brings along are the same.

    Raises:
        NothingToShowError: if there is nothing to show.
        MissingLibraryError: if a library that the page needs is not installed.
        OSError: if the file cannot be written.
    """
    records, failures = RecordStore(folder / "records").all(), FailureStore(folder / "failures").all()
    if not records and not failures:
        raise NothingToShowError(f"no records in {folder / 'records'}; make some with: foad-bench run SUITE")
    boards = leaderboards(records, failures)
    known = {board.setup.key for board in boards}
    path = folder / "leaderboard.html"
    write_atomically(path, page_bytes(boards, [each for each in failures if each.inputs.setup.key not in known]))
    return path


def page_bytes(boards: Sequence[Leaderboard], failures: Sequence[FailureRecord] = ()) -> bytes:
    """The page.

    Args:
        boards: as :func:`~foad_plugins.benchmarks.report.leaderboards` gives them.
        failures: of setups that have no record at all, and therefore no board.
    """
    shown = sections(boards)
    text = (
        _environment()
        .get_template("leaderboard.html")
        .render(
            sections=shown,
            failures=failures,
            runs=sum(len(row.runs) for board in boards for row in board.rows),
            plots=[figure["plot"] for figure in _figures(shown)],
            libraries=packed_libraries(),
            choices=_choices(shown),
        )
    )
    # A label may hold half of a surrogate pair, which no file can.
    return text.encode("utf-8", "replace")


def _figures(shown: list[Section]) -> list[PageFigure]:
    """All figures in the order of the page."""
    found = []
    for section in shown:
        found += section.figures
        for table in section.tables:
            found += table.figures
    for number, figure in enumerate(found):
        figure["number"] = number
    return found


def _choices(shown: list[Section]) -> dict[str, list[str]]:
    """What can be filtered by, where there is a choice."""
    tables = [table for section in shown for table in section.tables]
    rows = [row for table in tables for row in table.board.rows]
    found: dict[str, list[str]] = {
        "suite": [section.first.setup.suite for section in shown],
        "target": [table.heading for table in tables],
        "ranking": [section.first.setup.ranking for section in shown],
        "criterion": sorted(row.criterion for row in rows),
        "compensation": sorted(row.compensate or "none" for row in rows),
    }
    return {name: list(dict.fromkeys(values)) for name, values in found.items() if len(set(values)) > 1}


def _environment() -> Environment:
    # Labels are the user's, and may hold markup.
    def read(name: str) -> str:
        return (files(__package__) / "templates" / name).read_text("utf-8")

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(read)
    )
    environment.filters["figure"] = lambda value, form: "" if value is None else (form % value).replace("-", _MINUS)
    return environment
