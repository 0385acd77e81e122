"""What the page shows of each suite, in the words of its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...files import hash_json
from ...records.schema import FailureRecord
from ..charts.ablation import ablation_figures
from ..charts.accuracy_flops import fronts
from ..charts.fine_tuning import _curves
from ..charts.one_shot import _stages
from ..charts.roc import roc_figure
from ..charts.scoring_cost import _cost
from ..charts.stability import against_most, stability_figures
from ..charts.style import (
    Looks,
    PageFigure,
    row_key,
)
from ..charts.widths import page_widths
from ..data.agreement import Agreement
from ..data.leaderboard import Leaderboard, Row
from ..data.published import PublishedNetwork, published
from ..data.stability import Stability, Study, studies
from ..data.verification import is_verification
from ..text.ablation import ablation_notes
from ..text.notes import notes, warnings_first
from ..text.stability import stability_notes
from ..text.verification import verification_cells
from .columns import Column, columns

__all__ = ["Section", "Table", "board_figures", "sections"]


@dataclass(frozen=True)
class Table:
    """A leaderboard with its plots.

    Attributes:
        key: tells tables of the page apart.
        heading: what its rows share and others' do not.
        board: the rows.
        is_ranked: whether the rows end at one size and can be ranked.
        columns: beside rank and title.
        rows: for each row its key, whether it has all seeds, and its cells.
        pairs: headings and lines of what verification says pair by pair; None for other tasks.
        widths: layers that lost channels in some row, with their channels before and after, by row.
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
        key: tells sections of the page apart.
        title: suite and ranking.
        first: the first of its boards.
        seeds: how many there are.
        figures: of all tables together.
        tables: empty for a study of stability, whose accuracies are not its subject.
        published: what papers report on the network and data; None for nothing.
        agreement: for a study of stability each criterion's title, its agreement with itself on the most images, for
            all other numbers of images, and that on other images, for all numbers.
        counts: numbers of images in it.
        failures: of all tables.
        notes: on what has no table.
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


def sections(boards: Sequence[Leaderboard]) -> list[Section]:
    """Boards that differ in nothing but target, or number of images in a study of stability, make one section."""
    groups: dict[str, list[Leaderboard]] = {}
    for board in boards:
        groups.setdefault(_group(board), []).append(board)
    makers = {"comparison": _comparison, "ablation": _ablation, "stability": _stability}
    return [makers[group[0].setup.kind](group) for group in groups.values()]


def _group(board: Leaderboard) -> str:
    content = board.setup.model_dump(mode="json")
    content["conditions"].pop("calibration_images" if board.setup.kind == "stability" else "target")
    return hash_json(content)


def _comparison(boards: Sequence[Leaderboard]) -> Section:
    looks = Looks(boards)
    tables = [_table(board, board_figures(board, looks)) for board in boards]
    known = published(boards[0].setup.conditions)
    return _section(boards, figures=fronts(boards, looks), tables=tables, published=known)


def _ablation(boards: Sequence[Leaderboard]) -> Section:
    tables = []
    for board in boards:
        layers = page_widths(board)
        tables.append(_table(board, [*ablation_figures(board), *([layers] if layers else [])]))
    return _section(boards, figures=[], tables=tables)


def _stability(boards: Sequence[Leaderboard]) -> Section:
    (study,) = studies(boards)
    return _section(
        study.boards,
        figures=stability_figures(study),
        tables=[],
        agreement=[_agreement(criterion, study) for criterion in study.criteria],
        counts=list(study.counts),
        notes=stability_notes(study),
    )


def _agreement(criterion: Stability, study: Study) -> tuple[str, list[Agreement | None], list[Agreement | None]]:
    more = against_most(criterion, study)
    other = criterion.between_draws
    return criterion.criterion, [more.get(count) for count in study.counts[:-1]], [other.get(c) for c in study.counts]


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
    shown = columns(board)
    # Failures have a table of their own.
    loud = [line for line in warnings_first(board) if not line.startswith("Failed")]
    told = (
        [*loud, *ablation_notes(board)]
        if board.setup.kind == "ablation"
        else [line for line in notes(board) if not line.startswith("Failed")]
    )
    is_ranked = board.setup.kind != "ablation"
    ordered = board.rows if is_ranked else sorted(board.rows, key=_rule)
    ranks = iter(range(1, len(board.rows) + 1))
    rows = [
        {
            "key": row_key(board, row),
            "row": row,
            "title": row.title,
            # Means over other seeds are no rank, and ends at different sizes none either.
            "rank": "" if row.missing or not is_ranked else str(next(ranks)),
            "cells": [column.cell(row) for column in shown],
        }
        for row in ordered
    ]
    return Table(
        key=board.setup.key[:12],
        heading=str(board.setup.conditions.target),
        board=board,
        is_ranked=is_ranked,
        columns=shown,
        rows=rows,
        pairs=verification_cells(board) if is_verification(board) else None,
        widths=_widths(board),
        figures=figures,
        notes=told,
    )


def _rule(row: Row) -> tuple[str, int, float]:
    return (row.compensate or "", row.rule.neighbors, row.rule.threshold) if row.rule else ("", 0, 0.0)


def _widths(board: Leaderboard) -> list[tuple[str, int, list[str]]]:
    found = []
    for layer, before in board.base_widths.items():
        after = [row.widths.get(layer) for row in board.rows]
        if any(width != before for width in after):
            found.append((layer, before, ["" if width is None else f"{width:.4g}" for width in after]))
    return found


def board_figures(board: Leaderboard, looks: Looks) -> list[PageFigure]:
    """The plots that stand below a table."""
    found = [
        roc_figure(board, looks),
        _stages(board, looks),
        _cost(board, looks, "time"),
        _cost(board, looks, "memory"),
    ]
    found += [_curves(board, looks, "accuracy"), _curves(board, looks, "loss")]
    # Equal widths make a map of one color.
    found += [page_widths(board)] if board.widths_differ else []
    return [each for each in found if each is not None]
