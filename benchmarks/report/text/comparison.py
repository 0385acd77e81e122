"""A comparison's part of the report."""

from __future__ import annotations

from ..charts.accuracy_flops import accuracy_flops_png
from ..data.leaderboard import Leaderboard
from ..data.published import published
from ..data.verification import is_verification
from ..formatting import escape_markdown
from .notes import difference_note, interval, notes, warnings
from .section import Section, wrap
from .tables import latency_table, published_table, table, terminal_table, widths_table
from .verification import verification_table

__all__ = ["comparison_section"]


def comparison_section(board: Leaderboard, suffix: str = "") -> Section:
    """Tables, chart and notes of one leaderboard.

    Args:
        board: what to show.
        suffix: between the name of the chart and its ending.
    """
    chart = f"accuracy_flops{suffix}.png"
    first = warnings(board)
    parts = [f"## {escape_markdown(board.title)}"]
    parts += [f"**{escape_markdown(line)}**" for line in first]
    parts += [table(board, "github")]
    if is_verification(board):
        parts += ["Verification, pair by pair:", verification_table(board, "github")]
    if latency := latency_table(board, "github"):
        parts += ["Latency of a call, median:", latency]
    parts.append(f"![accuracy over FLOPs]({chart})")
    parts.append("\n".join(f"- {escape_markdown(note)}" for note in notes(board) if note not in first))
    if board.widths_differ:
        widths = widths_table(board, "github")
        summary = "Output channels by layer, mean over seeds"
        parts.append(f"<details>\n<summary>{summary}</summary>\n\n{widths}\n\n</details>")
    parts += _as_published(board)
    adjusted = ", before fine-tuning with BN adjusted" if "BN adjusted" in board.stages else ""
    terminal = [*first, f"Accuracies are in percent{adjusted}.", interval(board.seeds), *difference_note(board)]
    return Section(
        markdown="\n\n".join(parts) + "\n",
        terminal="\n\n".join([board.title, terminal_table(board), wrap(terminal)]),
        files={chart: accuracy_flops_png(board)},
    )


def _as_published(board: Leaderboard) -> list[str]:
    network = published(board.setup.conditions)
    if network is None:
        return []
    return [
        f"*As published for {escape_markdown(network.network)}; not comparable with the rows above: other base "
        "weights, other data, other training, FLOPs counted otherwise.*",
        published_table(network, "github"),
    ]
