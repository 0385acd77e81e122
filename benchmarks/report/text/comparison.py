"""A comparison's part of the report."""

from __future__ import annotations

from ..charts.accuracy_flops import accuracy_over_flops
from ..charts.fine_tuning import curves
from ..charts.one_shot import one_shot_against_fine_tuned
from ..charts.roc import roc
from ..charts.scoring_cost import score_times
from ..charts.widths import widths
from ..data.leaderboard import Leaderboard
from ..data.published import published
from ..data.verification import is_verification
from ..formatting import escaped
from .notes import notes, warnings_first
from .section import Section
from .tables import latency_table, published_table, table, widths_table
from .verification import verification_table

__all__ = ["comparison_section"]


def comparison_section(board: Leaderboard, suffix: str = "") -> Section:
    """Tables, plots and notes of one leaderboard.

    Args:
        board: what to show.
        suffix: goes between the name of a plot and its ending.
    """
    plots = {f"accuracy_flops{suffix}.png": ("accuracy over FLOPs", accuracy_over_flops(board))}
    if any(row.fine_tuned for row in board.rows):
        plots[f"one_shot_fine_tuned{suffix}.png"] = ("one-shot against fine-tuned", one_shot_against_fine_tuned(board))
    if any(len(row.curve) > 1 for row in board.rows):
        plots[f"fine_tuning{suffix}.png"] = ("accuracy by epoch of fine-tuning", curves(board))
    plots[f"score_time{suffix}.png"] = ("time to score", score_times(board))
    if board.widths_differ:
        plots[f"widths{suffix}.png"] = ("share of channels kept by layer", widths(board))
    judged_by_pairs = is_verification(board)
    if judged_by_pairs:
        plots[f"roc{suffix}.png"] = ("true over false accept rate", roc(board))
    loud = warnings_first(board)
    parts = [f"## {escaped(board.title)}"]
    parts += [f"**{escaped(line)}**" for line in loud]
    parts += [table(board, "github")]
    if judged_by_pairs:
        parts += ["Verification, pair by pair:", verification_table(board, "github")]
    if latency := latency_table(board, "github"):
        parts += ["Latency of a call, median:", latency]
    parts += [f"![{title}]({name})" for name, (title, _) in plots.items()]
    parts.append("\n".join(f"- {escaped(note)}" for note in notes(board) if note not in loud))
    if board.widths_differ:
        parts.append(_folded("Output channels by layer, mean over seeds", widths_table(board, "github")))
    parts += _as_published(board)
    return Section(
        markdown="\n\n".join(parts) + "\n",
        terminal=_terminal(board),
        files={name: png for name, (_, png) in plots.items()},
    )


def _terminal(board: Leaderboard) -> str:
    judged = verification_table(board) if is_verification(board) else ""
    tables = [part for part in (table(board), judged, latency_table(board)) if part]
    return "\n\n".join([board.title, *tables, "\n".join(notes(board))])


def _as_published(board: Leaderboard) -> list[str]:
    network = published(board.setup.conditions)
    if network is None:
        return []
    return [
        f"*As published for {escaped(network.network)}; not comparable with the rows above: other base weights, other "
        "data, other training, FLOPs counted otherwise.*",
        published_table(network, "github"),
    ]


def _folded(title: str, text: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"
