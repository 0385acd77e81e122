"""An ablation's part of the report: what the rule's parameters make of widths and accuracy."""

from __future__ import annotations

from collections.abc import Callable

from ..charts.ablation import ablation_lines
from ..data.leaderboard import MARK, Leaderboard, Row
from ..formatting import counted, escaped, percent, plain
from .notes import interval, origin, warnings_first
from .section import Section
from .tables import draw

__all__ = ["ablation_notes", "ablation_section", "ablation_table"]


def ablation_section(board: Leaderboard, suffix: str = "") -> Section:
    """Table, plot and notes of one ablation.

    Args:
        board: what to show.
        suffix: goes between the name of the plot and its ending.
    """
    name = f"ablation{suffix}.png"
    loud = warnings_first(board)
    told = ablation_notes(board)
    parts = [f"## {escaped(board.title)}", *(f"**{escaped(line)}**" for line in loud), ablation_table(board, "github")]
    parts += [f"![what t and s make of widths and accuracy]({name})"]
    parts += ["\n".join(f"- {escaped(note)}" for note in told)]
    return Section(
        markdown="\n\n".join(parts) + "\n",
        terminal="\n\n".join([board.title, ablation_table(board), "\n".join([*loud, *told])]),
        files={name: ablation_lines(board)},
    )


def ablation_table(board: Leaderboard, style: str = "simple") -> str:
    """Widths, size and accuracy for every t and s, sorted by these; entries without a result have blank cells."""
    count = len(board.seeds)
    rows = sorted(board.rows, key=_parameters)
    channels = {row.channels for row in rows if row.channels is not None}
    of = f" of {channels.pop():.0f}" if len(channels) == 1 else ""
    columns: dict[str, Callable[[Row], str]] = {
        "criterion": lambda row: row.title,
        "t": lambda row: str(row.rule.neighbors) if row.rule else "",
        "s": lambda row: f"{row.rule.threshold:g}" if row.rule else "",
        "seeds": lambda row: f"{len(row.seeds)} of {count}" if row.missing else str(count),
        f"channels kept{of}": lambda row: plain(row.channels_kept, 1),
        "params": lambda row: f"{counted(row.params.mean)} (-{row.params_reduction.mean:.1%})",
        "FLOPs (fvcore)": lambda row: f"{counted(row.flops.mean)} (-{row.flops_reduction.mean:.1%})",
        "one-shot acc. (%)": lambda row: percent(row.one_shot),
    }
    if any(row.one_shot_bn for row in rows):
        columns["BN moved acc. (%)"] = lambda row: percent(row.one_shot_bn)
    if any(row.fine_tuned for row in rows):
        columns["fine-tuned acc. (%)"] = lambda row: percent(row.fine_tuned)
    lines = [[cell(row) for cell in columns.values()] for row in rows]
    for title in board.without_result:
        lines.append([f"{title} {MARK}", "", "", f"0 of {count}", *[""] * (len(columns) - 4)])
    return draw(list(columns), lines, style)


def _parameters(row: Row) -> tuple[int, float, str]:
    return (row.rule.neighbors, row.rule.threshold, row.criterion) if row.rule else (0, 0.0, row.criterion)


def ablation_notes(board: Leaderboard) -> list[str]:
    """What a reader must know to judge an ablation."""
    conditions = board.setup.conditions
    base = board.rows[0].base
    spared = (
        f" Layers that keep all their channels: {', '.join(conditions.ignored_layers)}."
        if conditions.ignored_layers
        else ""
    )
    moved = " BN moved: the statistics of batch normalization moved by the calibration images."
    return [
        "The published rule decides by t (how many neighbors a kept channel may remove) and s (the similarity they "
        "must have) how many channels stay, so that entries end at different sizes: accuracies are to be read with the "
        "FLOPs beside them, and no entry is better than another by accuracy alone.",
        interval(board.seeds),
        "One-shot: nothing trained since channels were removed."
        f"{moved if any(row.one_shot_bn for row in board.rows) else ''}",
        f"{conditions.model.name} on {conditions.dataset.name}: base {percent(base)} % on {board.test_images} "
        f"test images; {conditions.calibration_images} training images for calibration.{spared}",
        f"FLOPs are {board.flops_unit}; reductions are in brackets.",
        *origin(board),
    ]
