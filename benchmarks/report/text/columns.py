"""Columns of the tables in Markdown, on the page and in a terminal: the text of a cell, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..data.estimates import Estimate
from ..data.leaderboard import MARK, Leaderboard, Row
from ..formatting import format_count, format_number, format_percent, format_reduction, shorten

_LATENCIES = (("before (ms)", "before", 1000), ("after (ms)", "after", 1000), ("speed-up", "speedup", 1))


@dataclass(frozen=True)
class Cell:
    """Text, and the value that it is sorted by; None is sorted last in both directions."""

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
    """All columns except the title, rank and latency; what these runs do not measure gets none."""
    rows, is_ablation = board.rows, board.setup.kind == "ablation"
    found: list[Column] = []
    if any(row.compensate for row in rows):
        found.append(Column("compensation", "of the layers that consume removed channels", _compensation, False))
    if is_ablation:
        found.append(Column("t", "neighbors of the rule", lambda row: _rule(row, "neighbors")))
        found.append(Column("s", "threshold of the rule", lambda row: _rule(row, "threshold")))
    found.append(_seeds(board))
    found.append(Column("base (%)", "accuracy before pruning", lambda row: _accuracy(row.base)))
    found += [_stage(name, f"{name} (%)") for name in board.stages]
    if board.is_tuned and "fine-tuned" not in board.stages:
        found.append(_stage("fine-tuned", "fine-tuned (%)"))
    if any(row.best_epoch for row in rows):
        heading = "best epoch, chosen on test data (%)"
        found.append(Column(heading, "therefore too high", lambda row: _accuracy(row.best_epoch)))
    if any(row.difference for row in rows):
        heading = f"Δ {board.setup.reference} (points)"
        found.append(Column(heading, "paired by seed", lambda row: _accuracy(row.difference, signed=True)))
    found.append(Column("params", "after pruning", lambda row: _size(row.params, row.params_reduction)))
    found.append(Column("FLOPs (fvcore)", "of one image", lambda row: _size(row.flops, row.flops_reduction)))
    if is_ablation and any(row.channels_kept for row in rows):
        found.append(_channels(board))
    found.append(Column("score time (s)", "wall clock", lambda row: _number(row.seconds_to_score, 3)))
    if any(row.peak_bytes_to_score for row in rows):
        found.append(Column("score memory (MB)", "peak", lambda row: _number(row.peak_bytes_to_score, 1, 1e-6)))
    return found


def latency_columns(board: Leaderboard) -> list[Column]:
    """Milliseconds of a call before and after pruning, by batch size; empty if nothing was timed."""
    found = []
    for size, threads in sorted({(timed.batch_size, timed.threads) for row in board.rows for timed in row.latency}):
        for title, name, factor in _LATENCIES:
            words = f"median of a call, {threads} thread(s)"
            found.append(Column(f"batch {size}: {title}", words, _latency(size, threads, name, factor)))
    return found


def narrow_columns(board: Leaderboard) -> list[Column]:
    """The columns for a terminal."""
    rows = board.rows
    found = [_seeds(board)]
    if board.setup.kind == "ablation" and any(row.channels_kept for row in rows):
        found = [_channels(board)]
    found.append(Column("before\nfine-tuning", "", lambda row: _accuracy(row.one_shot_bn or row.one_shot)))
    if board.is_tuned or "fine-tuned" in board.stages:
        found.append(_stage("fine-tuned", "fine-tuned"))
    if any(row.difference for row in rows):
        heading = f"difference\nto {shorten(board.setup.reference or '', 12)}"
        found.append(Column(heading, "", lambda row: _accuracy(row.difference, signed=True)))
    found.append(Column("params", "", lambda row: Cell(format_reduction(row.params_reduction))))
    found.append(Column("FLOPs", "", lambda row: Cell(format_reduction(row.flops_reduction))))
    return found


def lines_of(board: Leaderboard, shown: list[Column]) -> list[list[str]]:
    """The title and the cells of each row, then of each criterion without a result, where only the seeds are known."""
    lines = [[row.title, *(column.cell(row).text for column in shown)] for row in board.table_rows]
    for title in board.without_result:
        blank = [f"0 of {len(board.seeds)}" if column.heading == "seeds" else "" for column in shown]
        lines.append([f"{title} {MARK}", *blank])
    return lines


def _stage(stage: str, heading: str) -> Column:
    words = {
        "before fine-tuning": "accuracy right after pruning",
        "BN adjusted": "before fine-tuning, BN statistics adjusted",
        "fine-tuned": "after the last epoch",
    }
    return Column(heading, words[stage], lambda row: _accuracy(row.stages.get(stage)))


def _seeds(board: Leaderboard) -> Column:
    def cell(row: Row) -> Cell:
        count = len(row.seeds)
        return Cell(f"{count} of {len(board.seeds)}" if row.missing else str(count), count)

    return Column("seeds", "runs of the row", cell)


def _channels(board: Leaderboard) -> Column:
    channels = {row.channels for row in board.rows if row.channels is not None}
    of = f" of {channels.pop():.0f}" if len(channels) == 1 else ""

    def cell(row: Row) -> Cell:
        return Cell(format_number(row.channels_kept, 1), row.channels_kept.mean if row.channels_kept else None)

    return Column(f"channels kept{of}", "of those that can be removed", cell)


def _compensation(row: Row) -> Cell:
    text = (row.compensate or "none").replace("_", " ")
    return Cell(text, text)


def _rule(row: Row, name: str) -> Cell:
    value = getattr(row.rule, name, None)
    return Cell("" if value is None else f"{value:g}", value)


def _accuracy(value: Estimate | None, *, signed: bool = False) -> Cell:
    return Cell(format_percent(value, signed=signed), value.mean if value else None)


def _size(value: Estimate, removed: Estimate) -> Cell:
    return Cell(f"{format_count(value.mean)} ({format_reduction(removed)})", value.mean)


def _number(value: Estimate | None, digits: int, factor: float = 1) -> Cell:
    return Cell(f"{factor * value.mean:.{digits}f}", value.mean) if value else Cell("")


def _latency(batch_size: int, threads: int, name: str, factor: float) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        for timed in row.latency:
            if (timed.batch_size, timed.threads) == (batch_size, threads):
                value: Estimate = getattr(timed, name)
                return Cell(format_number(value, 2, factor=factor), value.mean)
        return Cell("")

    return cell
