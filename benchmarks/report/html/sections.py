"""What the page shows of each suite, as its template takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...records.schema import FailureRecord
from ..charts.ablation import ablation_figures
from ..charts.accuracy_flops import accuracy_flops_figures
from ..charts.fine_tuning import fine_tuning_figure
from ..charts.interactive import PageFigure
from ..charts.one_shot import one_shot_figure
from ..charts.roc import roc_figure
from ..charts.scoring_cost import scoring_cost_figure
from ..charts.stability import stability_figures
from ..charts.style import SeriesStyles, row_key
from ..charts.widths import widths_figure
from ..data.agreement import Agreement
from ..data.leaderboard import Leaderboard
from ..data.published import PublishedNetwork, published
from ..data.stability import CriterionStability, StabilityReport, stability_reports
from ..data.verification import is_verification
from ..text.ablation import ablation_notes
from ..text.columns import Column, columns, latency_columns
from ..text.notes import notes, warnings
from ..text.stability import stability_notes
from ..text.tables import widths_lines
from ..text.verification import verification_cells


@dataclass(frozen=True)
class Table:
    """A leaderboard with its charts.

    Attributes:
        key: identifies the table on the page.
        heading: the target.
        board: the rows.
        is_ranked: whether the rows end at one size and can be ranked.
        columns: all except rank and title.
        rows: for each row its key, whether it has all seeds, and its cells.
        pairs: headings and lines of the table of verification; None for other tasks.
        widths: each layer that some row prunes, with its channels before and, by row, after.
        figures: below it.
        notes: below it.
    """

    key: str
    heading: str
    board: Leaderboard
    is_ranked: bool
    columns: list[Column]
    rows: list[dict[str, Any]]
    pairs: tuple[list[str], list[list[str]]] | None
    widths: list[tuple[str, int, list[str]]]
    figures: list[PageFigure]
    notes: list[str]


@dataclass(frozen=True)
class Section:
    """A suite under one ranking, with a table for each target.

    Attributes:
        key: identifies the section on the page.
        title: suite and ranking.
        first: the first of its boards.
        seeds: how many there are.
        figures: of all tables together.
        tables: empty for stability, where accuracies are not the subject.
        published: what papers report on the network and data; None for nothing.
        agreement: for stability each criterion's title, its agreement with its choice on the most images, by number of
            images, and that between calibration samples, for all numbers.
        counts: numbers of images in it.
        failures: of all tables.
        notes: where there is no table.
    """

    key: str
    title: str
    first: Leaderboard
    seeds: int
    figures: list[PageFigure]
    tables: list[Table]
    failures: list[FailureRecord]
    published: PublishedNetwork | None = None
    agreement: list[tuple[str, list[Agreement | None], list[Agreement | None]]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sections(boards: Sequence[Leaderboard], styles: SeriesStyles) -> list[Section]:
    """One section for boards that differ only in the target, or, for stability, in the number of images."""
    groups: dict[str, list[Leaderboard]] = {}
    for board in boards:
        groups.setdefault(_group(board), []).append(board)
    makers = {"comparison": _comparison, "ablation": _ablation, "stability": _stability}
    return [makers[group[0].setup.kind](group, styles) for group in groups.values()]


def _group(board: Leaderboard) -> str:
    return board.setup.key_without("calibration_images" if board.setup.kind == "stability" else "target")


def _comparison(boards: Sequence[Leaderboard], styles: SeriesStyles) -> Section:
    tables = [_table(board, board_figures(board, styles)) for board in boards]
    known = published(boards[0].setup.conditions)
    return _section(boards, figures=accuracy_flops_figures(boards, styles), tables=tables, published=known)


def _ablation(boards: Sequence[Leaderboard], _: SeriesStyles) -> Section:
    tables = []
    for board in boards:
        layers = widths_figure(board)
        tables.append(_table(board, [*ablation_figures(board), *([layers] if layers else [])]))
    return _section(boards, figures=[], tables=tables)


def _stability(boards: Sequence[Leaderboard], styles: SeriesStyles) -> Section:
    (report,) = stability_reports(boards)
    return _section(
        report.boards,
        figures=stability_figures(report, styles),
        tables=[],
        agreement=[_agreement(report, criterion) for criterion in report.criteria],
        counts=list(report.counts),
        notes=stability_notes(report),
    )


def _agreement(
    report: StabilityReport, criterion: CriterionStability
) -> tuple[str, list[Agreement | None], list[Agreement | None]]:
    more, other = report.against_most(criterion), criterion.between_samples
    counts = report.counts
    return criterion.criterion, [more.get(count) for count in counts[:-1]], [other.get(count) for count in counts]


def _section(boards: Sequence[Leaderboard], **content: Any) -> Section:
    setup = boards[0].setup
    parts = [setup.suite, *([f"{setup.ranking} ranking"] if setup.kind != "ablation" else [])]
    return Section(
        key=_group(boards[0])[:12],
        title=", ".join(parts),
        first=boards[0],
        seeds=len({seed for board in boards for seed in board.seeds}),
        failures=[failure for board in boards for failure in board.failures],
        **content,
    )


def _table(board: Leaderboard, figures: list[PageFigure]) -> Table:
    shown = [*columns(board), *latency_columns(board)]
    lines = [*warnings(board), *ablation_notes(board)] if board.setup.kind == "ablation" else notes(board)
    is_ranked = board.setup.kind != "ablation"
    ranks = iter(range(1, len(board.rows) + 1))
    rows = [
        {
            "key": row_key(board, row),
            "row": row,
            "title": row.title,
            # Means over other seeds have no rank, and neither have rows that end at different sizes.
            "rank": "" if row.missing or not is_ranked else str(next(ranks)),
            "cells": [column.cell(row) for column in shown],
        }
        for row in board.table_rows
    ]
    return Table(
        key=board.setup.key[:12],
        heading=str(board.setup.conditions.target),
        board=board,
        is_ranked=is_ranked,
        columns=shown,
        rows=rows,
        pairs=verification_cells(board) if is_verification(board) else None,
        widths=widths_lines(board),
        figures=figures,
        # Failures have a table of their own.
        notes=[line for line in lines if not line.startswith("Failed")],
    )


def board_figures(board: Leaderboard, styles: SeriesStyles) -> list[PageFigure]:
    """The charts below a table."""
    found = [
        roc_figure(board, styles),
        one_shot_figure(board, styles),
        scoring_cost_figure(board, styles, "time"),
        scoring_cost_figure(board, styles, "memory"),
        fine_tuning_figure(board, styles, "accuracy"),
        fine_tuning_figure(board, styles, "loss"),
        # With equal widths all rows of the map would be the same.
        widths_figure(board) if board.widths_differ else None,
    ]
    return [each for each in found if each is not None]
