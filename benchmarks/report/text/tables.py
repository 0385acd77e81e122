"""Leaderboards as text: for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tabulate import tabulate

from ..data.leaderboard import MARK, Leaderboard, Row
from ..data.published import PublishedNetwork
from ..formatting import counted, escaped, percent, plain

__all__ = ["draw", "latency_table", "table", "widths_table"]

_LEFT = ("criterion", "compensation", "layer", "method", "source")


def draw(columns: Sequence[str], rows: Sequence[Sequence[str]], style: str = "simple") -> str:
    """A table of text.

    Args:
        columns: headings.
        rows: cells.
        style: one of tabulate's table formats; ``"github"`` gives Markdown, in which titles are no markup.
    """
    if style == "github":
        columns = [escaped(name) for name in columns]
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


def table(board: Leaderboard, style: str = "simple") -> str:
    """Accuracies, sizes and costs of scoring, an entry a line; those that failed with every seed have blank cells.

    Args:
        board: what to show.
        style: as for :func:`draw`.
    """
    columns = _columns(board)
    rows = [[cell(row) for cell in columns.values()] for row in board.rows]
    for title in board.without_result:
        blank = dict.fromkeys(columns, "") | {"criterion": f"{title} {MARK}", "seeds": f"0 of {len(board.seeds)}"}
        rows.append(list(blank.values()))
    return draw(list(columns), rows, style)


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
    """Mean output channels by layer, an entry a column, for layers of which some entry removed a channel."""
    layers = [
        layer
        for layer, width in board.base_widths.items()
        if any(row.widths.get(layer, width) != width for row in board.rows)
    ]
    rows = [
        [layer, str(board.base_widths[layer]), *(_width(row.widths, layer) for row in board.rows)] for layer in layers
    ]
    return draw(["layer", "before", *(row.criterion for row in board.rows)], rows, style)


def _columns(board: Leaderboard) -> dict[str, Callable[[Row], str]]:
    """Headings and what stands below them; what these runs do not measure gets no column."""
    count = len(board.seeds)
    columns: dict[str, Callable[[Row], str]] = {"criterion": lambda row: row.title}
    if any(row.compensate for row in board.rows):
        columns["compensation"] = lambda row: (row.compensate or "none").replace("_", " ")
    columns["seeds"] = lambda row: f"{len(row.seeds)} of {count}" if row.missing else str(count)
    columns["base acc. (%)"] = lambda row: percent(row.base)
    columns["one-shot acc. (%)"] = lambda row: percent(row.one_shot)
    if any(row.one_shot_bn for row in board.rows):
        columns["BN moved acc. (%)"] = lambda row: percent(row.one_shot_bn)
    if any(row.fine_tuned for row in board.rows) or board.is_tuned:
        columns["fine-tuned acc. (%)"] = lambda row: percent(row.fine_tuned)
    if any(row.best_epoch for row in board.rows):
        columns["best epoch, chosen on test data (%)"] = lambda row: percent(row.best_epoch)
    if any(row.difference for row in board.rows):
        columns[f"Δ {board.setup.reference} (points)"] = lambda row: percent(row.difference, signed=True)
    columns["params"] = lambda row: f"{counted(row.params.mean)} (-{row.params_reduction.mean:.1%})"
    columns["FLOPs (fvcore)"] = lambda row: f"{counted(row.flops.mean)} (-{row.flops_reduction.mean:.1%})"
    columns["score time (s)"] = lambda row: f"{row.seconds_to_score.mean:.3f}"
    if any(row.peak_bytes_to_score for row in board.rows):
        columns["score memory (MB)"] = lambda row: _megabytes(row)
    return columns


def _megabytes(row: Row) -> str:
    return "" if row.peak_bytes_to_score is None else f"{row.peak_bytes_to_score.mean / 1e6:.1f}"


def _latency(size: int, threads: int, name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        timed = [timed for timed in row.latency if (timed.batch_size, timed.threads) == (size, threads)]
        if not timed:
            return ""
        return plain(getattr(timed[0], name), 2, factor=1 if name == "speedup" else 1000)

    return cell


def _width(widths: Mapping[str, float], layer: str) -> str:
    return f"{widths[layer]:.4g}" if layer in widths else ""


def _marked(cell: str) -> str:
    """Escaped, but for italics around the whole, which are ours."""
    if len(cell) > 2 and cell[0] == cell[-1] == "*":
        return f"*{escaped(cell[1:-1])}*"
    return escaped(cell)


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
    told = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [list(row) for row in zip(*told.values(), strict=True)]
    if style == "github":
        rows = [[f"*{cell}*" if cell else "" for cell in row] for row in rows]
    return draw(list(told), rows, style)


def _number(value: float | None, form: str, sign: str = "") -> str:
    return "" if value is None else f"{sign}{value:{form}}"
