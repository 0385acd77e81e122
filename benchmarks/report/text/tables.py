"""Leaderboards as text: for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from ..data.leaderboard import Leaderboard
from ..data.published import PublishedNetwork
from ..formatting import escape_markdown, shorten
from .columns import columns, latency_columns, lines_of, narrow_columns

_LEFT = ("criterion", "compensation", "layer", "method", "source")
_COLUMNS = 100


def draw_markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, in which a user's titles are not read as markup."""
    escaped = [
        [cell if name not in _LEFT else _marked(cell) for name, cell in zip(headings, row, strict=True)] for row in rows
    ]
    return _draw([escape_markdown(name) for name in headings], escaped, "github")


def draw_narrow(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: names in the first column are cut where lines would have more than 100 characters."""
    text = _draw(headings, rows, "simple")
    excess = max(map(len, text.splitlines())) - _COLUMNS
    if excess <= 0:
        return text
    left = max(1, max(len(row[0]) for row in rows) - excess)
    return _draw(headings, [[shorten(row[0], left), *row[1:]] for row in rows], "simple")


def _draw(headings: Sequence[str], rows: Sequence[Sequence[str]], style: str) -> str:
    return tabulate(
        rows,
        headers=headings,
        tablefmt=style,
        colalign=["left" if name in _LEFT else "right" for name in headings] if rows else None,
        # Cells are text already; as numbers, tabulate would drop the zero of "97.10".
        disable_numparse=True,
    )


def _marked(cell: str) -> str:
    """Escaped, except for italics around the whole, which are ours."""
    if len(cell) > 2 and cell[0] == cell[-1] == "*":
        return f"*{escape_markdown(cell[1:-1])}*"
    return escape_markdown(cell)


def table(board: Leaderboard) -> str:
    """Accuracies, sizes and costs of scoring, a criterion in each line; cells of failed ones are blank."""
    shown = columns(board)
    return draw_markdown(["criterion", *(column.heading for column in shown)], lines_of(board, shown))


def terminal_table(board: Leaderboard) -> str:
    """Accuracies and sizes within 100 columns."""
    shown = narrow_columns(board)
    return draw_narrow(["criterion", *(column.heading for column in shown)], lines_of(board, shown))


def latency_table(board: Leaderboard) -> str:
    """Milliseconds of a call before and after pruning, by batch size; empty if nothing was timed."""
    shown = latency_columns(board)
    if not shown:
        return ""
    rows = [[row.criterion, *(column.cell(row).text for column in shown)] for row in board.rows]
    return draw_markdown(["criterion", *(column.heading for column in shown)], rows)


def widths_table(board: Leaderboard) -> str:
    """Mean output channels by layer, a criterion in each column, of the layers that some criterion prunes."""
    rows = [[layer, str(before), *after] for layer, before, after in widths_lines(board)]
    return draw_markdown(["layer", "before", *(row.criterion for row in board.rows)], rows)


def widths_lines(board: Leaderboard) -> list[tuple[str, int, list[str]]]:
    """Each layer that some row prunes, with its channels before and, for each row, after."""
    return [
        (
            layer,
            board.base_widths[layer],
            [f"{row.widths[layer]:.4g}" if layer in row.widths else "" for row in board.rows],
        )
        for layer in board.pruned_layers
    ]


def published_table(network: PublishedNetwork) -> str:
    """The results in the order of the data file, every cell in italics."""
    results = network.results
    columns = {
        "method": [result.method for result in results],
        f"{network.measure} (%)": [_number(result.accuracy, ".2f") for result in results],
        "change to its base (points)": [_number(result.accuracy_change, "+.2f") for result in results],
        "params (%)": [_number(result.params_reduction, ".1f", "-") for result in results],
        "FLOPs (%)": [_number(result.flops_reduction, ".1f", "-") for result in results],
        "FLOPs, before over after": [result.speedup or "" for result in results],
        "source": [result.source for result in results],
    }
    known = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [[f"*{cell}*" if cell else "" for cell in row] for row in zip(*known.values(), strict=True)]
    return draw_markdown(list(known), rows)


def _number(value: float | None, form: str, sign: str = "") -> str:
    return "" if value is None else f"{sign}{value:{form}}"
