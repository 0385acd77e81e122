"""What the page shows of each suite, in the words of its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..files import hash_json
from ..records import FailureRecord
from .board import Leaderboard
from .notes import notes
from .page_ablation import ablation_figures
from .page_columns import Cell, Column, columns
from .page_figures import board_figures, fronts, widths
from .page_looks import Figure, Looks, row_key
from .page_stability import Agreement, agreements, stability_figures

__all__ = ["Section", "Table", "sections"]


@dataclass(frozen=True)
class Table:
    """A leaderboard with its plots.

    Attributes:
        key: tells tables of the page apart.
        heading: what its rows share and others' do not.
        board: the rows.
        columns: beside rank and title.
        rows: for each row its key, whether it has all seeds, and its cells.
        widths: layers that lost channels in some row, with their channels before and after, by row.
        figures: below it.
        notes: below it.
    """

    key: str
    heading: str
    board: Leaderboard
    columns: list[Column]
    rows: list[dict[str, Any]]
    widths: list[tuple[str, int, list[str]]]
    figures: list[Figure]
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
        agreement: for a study of stability, what its table says.
        counts: numbers of images in it.
        failures: of all tables.
        notes: on what has no table.
    """

    key: str
    title: str
    first: Leaderboard
    seeds: int
    figures: list[Figure]
    tables: list[Table]
    failures: list[FailureRecord]
    agreement: list[Agreement] = field(default_factory=list)
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
    return _section(boards, figures=fronts(boards, looks), tables=tables)


def _ablation(boards: Sequence[Leaderboard]) -> Section:
    looks = Looks(boards)
    tables = []
    for board in boards:
        layers = widths(board)
        tables.append(_table(board, [*ablation_figures(board), *([layers] if layers else [])]))
    return _section(boards, figures=fronts(boards, looks)[:1], tables=tables)


def _stability(boards: Sequence[Leaderboard]) -> Section:
    found = agreements(boards)
    counts = sorted({count for each in found for count in each.counts})
    lines = [
        "IoU is the number of channels that both runs remove over the number that either removes, layer by layer; the "
        "mean is over layers. Two random choices of half the channels have an IoU of about 1/3.",
        "Fewer images: with the run of the same seed on the most images. Other images: between runs of different seeds.",
    ]
    known = [note for note in notes(boards[-1]) if note.startswith(("foad-plugins", boards[0].setup.conditions.model.name))]
    return _section(
        boards, figures=stability_figures(found), tables=[], agreement=found, counts=counts, notes=[*lines, *known]
    )


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


def _table(board: Leaderboard, figures: list[Figure]) -> Table:
    shown = columns(board)
    ranks = iter(range(1, len(board.rows) + 1))
    rows = [
        {
            "key": row_key(board, row),
            "row": row,
            # Means over other seeds are no rank.
            "rank": Cell("", None) if row.missing else Cell(str(rank := next(ranks)), rank),
            "cells": [column.cell(row) for column in shown],
        }
        for row in board.rows
    ]
    return Table(
        key=board.setup.key[:12],
        heading=str(board.setup.conditions.target),
        board=board,
        columns=shown,
        rows=rows,
        widths=_widths(board),
        figures=figures,
        notes=notes(board),
    )


def _widths(board: Leaderboard) -> list[tuple[str, int, list[str]]]:
    found = []
    for layer, before in board.base_widths.items():
        after = [row.widths.get(layer) for row in board.rows]
        if any(width != before for width in after):
            found.append((layer, before, ["" if width is None else f"{width:.4g}" for width in after]))
    return found
