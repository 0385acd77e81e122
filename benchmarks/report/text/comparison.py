"""The part of the report of one comparison or ablation."""

from __future__ import annotations

from ..charts.ablation import ablation_png
from ..charts.accuracy_flops import accuracy_flops_png
from ..charts.style import SeriesStyles
from ..data.leaderboard import Leaderboard
from ..data.published import published
from ..data.verification import is_verification
from ..formatting import escape_markdown
from .ablation import ablation_notes
from .notes import difference_note, interval, notes, warnings
from .section import Section, wrap
from .tables import latency_table, published_table, table, terminal_table, widths_table
from .verification import verification_table


def ablation_section(board: Leaderboard, suffix: str = "") -> Section:
    """Table, chart and notes of one ablation.

    Args:
        board: what to show.
        suffix: between the name of the chart and its ending.
    """
    chart, more = f"ablation{suffix}.png", ablation_notes(board)
    parts = [table(board), f"![widths and accuracy over t and s]({chart})", _list(more)]
    return _section(board, parts, more[:2], {chart: ablation_png(board)})


def comparison_section(board: Leaderboard, styles: SeriesStyles, suffix: str = "") -> Section:
    """Tables, chart and notes of one comparison.

    Args:
        board: what to show.
        styles: of its rows.
        suffix: between the name of the chart and its ending.
    """
    chart = f"accuracy_flops{suffix}.png"
    parts = [table(board)]
    if is_verification(board):
        parts += ["Verification, pair by pair:", verification_table(board)]
    if latency := latency_table(board):
        parts += ["Latency of a call, median:", latency]
    parts += [f"![accuracy over FLOPs]({chart})", _list(notes(board)[len(warnings(board)) :])]
    if board.widths_differ:
        summary = "Output channels by layer, mean over seeds"
        parts.append(f"<details>\n<summary>{summary}</summary>\n\n{widths_table(board)}\n\n</details>")
    parts += _as_published(board)
    terminal = [interval(board.seeds), *difference_note(board)]
    return _section(board, parts, terminal, {chart: accuracy_flops_png(board, styles)})


def _section(board: Leaderboard, parts: list[str], terminal: list[str], files: dict[str, bytes]) -> Section:
    first = warnings(board)
    heading = [f"## {escape_markdown(board.title)}", *(f"**{escape_markdown(line)}**" for line in first)]
    adjusted = ", those before fine-tuning with BN adjusted" if "BN adjusted" in board.stages else ""
    lines = [*first, f"Accuracies are in percent{adjusted}.", *terminal]
    return Section(
        markdown="\n\n".join([*heading, *parts]) + "\n",
        terminal="\n\n".join([board.title, terminal_table(board), wrap(lines)]),
        files=files,
    )


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def _as_published(board: Leaderboard) -> list[str]:
    network = published(board.setup.conditions)
    if network is None:
        return []
    return [
        f"*As published for {escape_markdown(network.network)}; not comparable with the rows above: other base "
        "weights, other data, other training, FLOPs counted otherwise.*",
        published_table(network),
    ]
