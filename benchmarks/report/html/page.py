"""The leaderboards of a results folder as one HTML page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from ...records.schema import FailureRecord
from ..charts.interactive import PageFigure
from ..charts.style import PALETTE, series_styles
from ..data.leaderboard import Leaderboard
from .scripts import packed_libraries
from .sections import Section, sections


def page_bytes(boards: Sequence[Leaderboard], failures: Sequence[FailureRecord] = ()) -> bytes:
    """The page, which loads nothing from elsewhere. Equal records give equal bytes while the libraries are the same.

    Args:
        boards: from :func:`~foad_plugins.benchmarks.report.leaderboards`.
        failures: of setups that have no record, and therefore no board.

    Raises:
        MissingLibraryError: if a library that the page needs is not installed.
    """
    shown = sections(boards, series_styles(boards))
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
            palette=PALETTE,
        )
    )
    # A label may contain half of a surrogate pair, which UTF-8 cannot encode.
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
    """The values of each filter, where there are at least two."""
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
    # Labels are the user's, and may contain markup.
    def read(name: str) -> str:
        return (files(__package__) / "templates" / name).read_text("utf-8")

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(read)
    )
    environment.filters["number"] = lambda value, form: "" if value is None else form % value
    return environment
