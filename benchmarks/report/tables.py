"""Leaderboards as text: for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Callable

from tabulate import tabulate

from .notes import notes
from .board import Leaderboard, Row
from .estimates import Estimate

__all__ = ["markdown_section", "table"]

_WORDS = ("criterion", "compensation")


def table(board: Leaderboard, style: str = "simple") -> str:
    """The rows as text.

    Args:
        board: what to show.
        style: one of tabulate's table formats; ``"github"`` gives Markdown.
    """
    columns = _columns(board)
    return tabulate(
        [[cell(row) for cell in columns.values()] for row in board.rows],
        headers=list(columns),
        tablefmt=style,
        colalign=["left" if name in _WORDS else "right" for name in columns],
        # Cells are text already; as numbers, tabulate would drop the zero of "97.10".
        disable_numparse=True,
    )


def markdown_section(board: Leaderboard, plot: str) -> str:
    """Heading, table, plot and notes of one leaderboard.

    Args:
        board: what to show.
        plot: the plot's file name beside the Markdown file.
    """
    lines = "\n".join(f"- {note}" for note in notes(board))
    return f"## {board.setup.suite}\n\n{table(board, 'github')}\n\n![accuracy over FLOPs]({plot})\n\n{lines}\n"


def _columns(board: Leaderboard) -> dict[str, Callable[[Row], str]]:
    """Headings and what stands below them; what these runs do not measure gets no column."""
    columns: dict[str, Callable[[Row], str]] = {"criterion": lambda row: row.criterion}
    if any(row.compensate for row in board.rows):
        columns["compensation"] = lambda row: (row.compensate or "none").replace("_", " ")
    columns["seeds"] = lambda row: str(len(row.seeds))
    columns["base acc. (%)"] = lambda row: _percent(row.base)
    columns["one-shot acc. (%)"] = lambda row: _percent(row.one_shot)
    if any(row.one_shot_bn for row in board.rows):
        columns["BN moved acc. (%)"] = lambda row: _percent(row.one_shot_bn)
    if any(row.fine_tuned for row in board.rows) or board.setup.conditions.finetune_recipe.epochs:
        columns["fine-tuned acc. (%)"] = lambda row: _percent(row.fine_tuned)
    if any(row.difference for row in board.rows):
        columns[f"Δ {board.setup.reference} (points)"] = lambda row: _percent(row.difference, signed=True)
    columns["params"] = lambda row: f"{_short(row.params.mean)} (-{row.params_reduction.mean:.1%})"
    columns["FLOPs (fvcore)"] = lambda row: f"{_short(row.flops.mean)} (-{row.flops_reduction.mean:.1%})"
    columns["score time (s)"] = lambda row: f"{row.seconds_to_score.mean:.3f}"
    return columns


def _percent(value: Estimate | None, *, signed: bool = False) -> str:
    if value is None:
        return ""
    deviation = "" if value.margin is None else f" ± {100 * value.margin:.2f}"
    return f"{100 * value.mean:{'+' if signed else ''}.2f}{deviation}"


def _short(count: float) -> str:
    """A count with three figures and a metric prefix: 71234 is ``71.2 k``."""
    for prefix in ("", " k", " M", " G"):
        if count < 999.5:
            return f"{count:.3g}{prefix}"
        count /= 1000
    return f"{count:.3g} T"
