"""Columns of the page's tables: the text of a cell, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..charts.style import MINUS
from ..data.estimates import Estimate
from ..data.leaderboard import Leaderboard, Row
from ..formatting import format_count, format_percent, percent_change
from ..text.tables import seeds

__all__ = [
    "Cell",
    "Column",
    "columns",
]


@dataclass(frozen=True)
class Cell:
    """Text, and the number that it is sorted by; None is sorted last in both directions."""

    text: str
    order: float | str | None = None


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: its title.
        help: what it means, in a few words.
        cell: from a row to its cell.
        is_number: aligned to the right.
    """

    heading: str
    help: str
    cell: Callable[[Row], Cell]
    is_number: bool = True


def columns(board: Leaderboard) -> list[Column]:
    """All columns of a table except rank and title; what these runs do not measure gets none."""
    rows, setup = board.rows, board.setup
    found: list[Column] = []
    if any(row.compensate for row in rows):
        found.append(Column("compensation", "of the layers that consume removed channels", _compensation, False))
    if any(row.rule for row in rows) and setup.kind == "ablation":
        found += [
            Column("t", "neighbors of the rule", lambda row: _rule(row, "neighbors")),
            Column("s", "threshold of the rule", lambda row: _rule(row, "threshold")),
        ]
    found.append(Column("seeds", "runs of the row", lambda row: _seeds(board, row)))
    found.append(Column("base (%)", "accuracy before pruning", lambda row: _accuracy(row.base)))
    found.append(Column("before fine-tuning (%)", "accuracy right after pruning", lambda row: _accuracy(row.one_shot)))
    if any(row.one_shot_bn for row in rows):
        found.append(
            Column(
                "BN adjusted (%)", "before fine-tuning, BN statistics adjusted", lambda row: _accuracy(row.one_shot_bn)
            )
        )
    if any(row.fine_tuned for row in rows):
        found.append(Column("fine-tuned (%)", "after the last epoch", lambda row: _accuracy(row.fine_tuned)))
    if any(row.best_epoch for row in rows):
        found.append(Column("best epoch (%)", "chosen on test images: too high", lambda row: _accuracy(row.best_epoch)))
    if any(row.difference for row in rows):
        heading = f"Δ {setup.reference} (points)"
        found.append(Column(heading, "paired by seed", lambda row: _accuracy(row.difference, signed=True)))
    found.append(Column("parameters", "after pruning", lambda row: _size(row.params, row.params_reduction)))
    found.append(Column("FLOPs", "of one image", lambda row: _size(row.flops, row.flops_reduction)))
    if any(row.channels_kept for row in rows):
        found.append(Column("channels", "kept of those that can be removed", _channels))
    sizes = sorted({(each.batch_size, each.threads) for row in rows for each in row.latency})
    found += [_latency(*size) for size in sizes]
    found.append(Column("time to score (s)", "wall clock", lambda row: _seconds(row.seconds_to_score)))
    if any(row.peak_bytes_to_score for row in rows):
        found.append(Column("peak memory (MB)", "to score", lambda row: _megabytes(row.peak_bytes_to_score)))
    return found


def _compensation(row: Row) -> Cell:
    text = (row.compensate or "none").replace("_", " ")
    return Cell(text, text)


def _accuracy(value: Estimate | None, *, signed: bool = False) -> Cell:
    return Cell(format_percent(value, signed=signed, minus=MINUS), value.mean) if value else Cell("")


def _size(value: Estimate, reduction: Estimate) -> Cell:
    return Cell(f"{format_count(value.mean)} ({percent_change(reduction.mean)})", value.mean)


def _seeds(board: Leaderboard, row: Row) -> Cell:
    return Cell(seeds(board, row), len(row.seeds))


def _rule(row: Row, name: str) -> Cell:
    value = getattr(row.rule, name, None)
    return Cell("" if value is None else f"{value:g}", value)


def _channels(row: Row) -> Cell:
    if row.channels_kept is None or not row.channels:
        return Cell("")
    return Cell(f"{row.channels_kept.mean:.5g} of {row.channels:.5g}", row.channels_kept.mean / row.channels)


def _latency(batch_size: int, threads: int) -> Column:
    def cell(row: Row) -> Cell:
        for each in row.latency:
            if (each.batch_size, each.threads) == (batch_size, threads):
                after = each.after.mean
                return Cell(f"{1000 * after:.3g} ({each.speedup.mean:.2f}x)", after)
        return Cell("")

    return Column(f"latency, batch {batch_size} (ms)", f"median, {threads} thread(s); speed-up in brackets", cell)


def _seconds(value: Estimate) -> Cell:
    return Cell(f"{value.mean:.3g}" if value.mean < 1000 else f"{value.mean:.0f}", value.mean)


def _megabytes(value: Estimate | None) -> Cell:
    return Cell(f"{value.mean / 1e6:.3g}", value.mean) if value else Cell("")
