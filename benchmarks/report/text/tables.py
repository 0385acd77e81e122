"""Leaderboards as text: for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tabulate import tabulate

from ..data.estimates import Estimate
from ..data.leaderboard import MARK, Leaderboard, Row
from ..data.published import PublishedNetwork
from ..formatting import escape_markdown, format_count, format_number, format_percent, shorten

__all__ = [
    "cost",
    "draw",
    "draw_narrow",
    "latency_table",
    "published_table",
    "reduction",
    "seeds",
    "table",
    "terminal_table",
    "widths_table",
]

_LEFT = ("criterion", "compensation", "layer", "method", "source")
_COLUMNS = 100


def draw(columns: Sequence[str], rows: Sequence[Sequence[str]], style: str = "simple") -> str:
    """A table of text.

    Args:
        columns: headings.
        rows: cells.
        style: one of tabulate's table formats; ``"github"`` gives Markdown, in which titles are no markup.
    """
    if style == "github":
        columns = [escape_markdown(name) for name in columns]
        rows = [
            [cell if name not in _LEFT else _marked(cell) for name, cell in zip(columns, row, strict=True)]
            for row in rows
        ]
    return tabulate(
        rows,
        headers=columns,
        tablefmt=style,
        colalign=["left" if name in _LEFT else "right" for name in columns] if rows else None,
        # Cells are text already; as numbers, tabulate would drop the zero of "97.10".
        disable_numparse=True,
    )


def draw_narrow(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: names in the first column are cut where lines would have more than 100 characters."""
    text = draw(columns, rows)
    excess = max(map(len, text.splitlines())) - _COLUMNS
    if excess <= 0:
        return text
    left = max(1, max(len(row[0]) for row in rows) - excess)
    return draw(columns, [[shorten(row[0], left), *row[1:]] for row in rows])


def table(board: Leaderboard, style: str = "simple") -> str:
    """Accuracies, sizes and costs of scoring, a criterion in each line; cells of failed ones are blank.

    Args:
        board: what to show.
        style: as for :func:`draw`.
    """
    columns = _columns(board)
    return draw(list(columns), _rows(board, columns), style)


def latency_table(board: Leaderboard, style: str = "simple") -> str:
    """Milliseconds of a call before and after pruning, by batch size; empty if nothing was timed."""
    columns: dict[str, Callable[[Row], str]] = {"criterion": lambda row: row.criterion}
    for size, threads in sorted({(timed.batch_size, timed.threads) for row in board.rows for timed in row.latency}):
        for name in ("before", "after", "speedup"):
            title = "speed-up" if name == "speedup" else f"{name} (ms)"
            columns[f"batch {size}: {title}"] = _latency(size, threads, name)
    if len(columns) == 1:
        return ""
    return draw(list(columns), [[cell(row) for cell in columns.values()] for row in board.rows], style)


def widths_table(board: Leaderboard, style: str = "simple") -> str:
    """Mean output channels by layer, a criterion in each column, of the layers that some criterion prunes."""
    rows = [
        [layer, str(board.base_widths[layer]), *(_width(row.widths, layer) for row in board.rows)]
        for layer in board.pruned_layers
    ]
    return draw(["layer", "before", *(row.criterion for row in board.rows)], rows, style)


def _columns(board: Leaderboard) -> dict[str, Callable[[Row], str]]:
    """Headings and cells; what these runs do not measure gets no column."""
    columns: dict[str, Callable[[Row], str]] = {"criterion": lambda row: row.title}
    if any(row.compensate for row in board.rows):
        columns["compensation"] = lambda row: (row.compensate or "none").replace("_", " ")
    columns["seeds"] = lambda row: seeds(board, row)
    columns["base (%)"] = lambda row: format_percent(row.base)
    columns["before fine-tuning (%)"] = lambda row: format_percent(row.one_shot)
    if any(row.one_shot_bn for row in board.rows):
        columns["BN adjusted (%)"] = lambda row: format_percent(row.one_shot_bn)
    if any(row.fine_tuned for row in board.rows) or board.is_tuned:
        columns["fine-tuned (%)"] = lambda row: format_percent(row.fine_tuned)
    if any(row.best_epoch for row in board.rows):
        columns["best epoch, chosen on test data (%)"] = lambda row: format_percent(row.best_epoch)
    if any(row.difference for row in board.rows):
        columns[f"Δ {board.setup.reference} (points)"] = lambda row: format_percent(row.difference, signed=True)
    columns["params"] = lambda row: cost(row.params, row.params_reduction)
    columns["FLOPs (fvcore)"] = lambda row: cost(row.flops, row.flops_reduction)
    columns["score time (s)"] = lambda row: f"{row.seconds_to_score.mean:.3f}"
    if any(row.peak_bytes_to_score for row in board.rows):
        columns["score memory (MB)"] = lambda row: _megabytes(row)
    return columns


def terminal_table(board: Leaderboard) -> str:
    """Accuracies and sizes within 100 columns; the page has the rest."""
    columns: dict[str, Callable[[Row], str]] = {
        "criterion": lambda row: row.title,
        "seeds": lambda row: seeds(board, row),
        "before\nfine-tuning": lambda row: format_percent(row.one_shot_bn or row.one_shot),
    }
    if any(row.fine_tuned for row in board.rows) or board.is_tuned:
        columns["fine-tuned"] = lambda row: format_percent(row.fine_tuned)
    if any(row.difference for row in board.rows):
        columns[f"difference\nto {shorten(board.setup.reference or '', 12)}"] = lambda row: format_percent(
            row.difference, signed=True
        )
    columns["params"] = lambda row: reduction(row.params_reduction)
    columns["FLOPs"] = lambda row: reduction(row.flops_reduction)
    return draw_narrow(list(columns), _rows(board, columns))


def _rows(board: Leaderboard, columns: Mapping[str, Callable[[Row], str]]) -> list[list[str]]:
    rows = [[cell(row) for cell in columns.values()] for row in board.rows]
    for title in board.without_result:
        blank = dict.fromkeys(columns, "") | {"criterion": f"{title} {MARK}", "seeds": f"0 of {len(board.seeds)}"}
        rows.append(list(blank.values()))
    return rows


def seeds(board: Leaderboard, row: Row) -> str:
    """How many seeds a row has, and of how many if it lacks some."""
    return f"{len(row.seeds)} of {len(board.seeds)}" if row.missing else str(len(row.seeds))


def cost(value: Estimate, removed: Estimate) -> str:
    """A count with its reduction in brackets."""
    return f"{format_count(value.mean)} ({reduction(removed)})"


def reduction(removed: Estimate) -> str:
    """The share of a count that was removed, as a change."""
    return f"-{removed.mean:.1%}"


def _megabytes(row: Row) -> str:
    return "" if row.peak_bytes_to_score is None else f"{row.peak_bytes_to_score.mean / 1e6:.1f}"


def _latency(size: int, threads: int, name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        timed = [timed for timed in row.latency if (timed.batch_size, timed.threads) == (size, threads)]
        if not timed:
            return ""
        return format_number(getattr(timed[0], name), 2, factor=1 if name == "speedup" else 1000)

    return cell


def _width(widths: Mapping[str, float], layer: str) -> str:
    return f"{widths[layer]:.4g}" if layer in widths else ""


def _marked(cell: str) -> str:
    """Escaped, except for italics around the whole, which are ours."""
    if len(cell) > 2 and cell[0] == cell[-1] == "*":
        return f"*{escape_markdown(cell[1:-1])}*"
    return escape_markdown(cell)


def published_table(network: PublishedNetwork, style: str = "simple") -> str:
    """The results in the order of the data file, every cell in italics in Markdown."""
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
    rows = [list(row) for row in zip(*known.values(), strict=True)]
    if style == "github":
        rows = [[f"*{cell}*" if cell else "" for cell in row] for row in rows]
    return draw(list(known), rows, style)


def _number(value: float | None, form: str, sign: str = "") -> str:
    return "" if value is None else f"{sign}{value:{form}}"
