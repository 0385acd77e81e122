"""An ablation's part of the report: how widths and accuracy depend on the rule's parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..charts.ablation import ablation_png
from ..data.leaderboard import MARK, Leaderboard, Row
from ..formatting import escape_markdown, format_number, format_percent
from .notes import interval, kept_layers, provenance, warnings
from .section import Section, wrap
from .tables import cost, draw, draw_narrow, reduction, seeds

__all__ = ["ablation_notes", "ablation_section", "ablation_table"]


def ablation_section(board: Leaderboard, suffix: str = "") -> Section:
    """Table, chart and notes of one ablation.

    Args:
        board: what to show.
        suffix: between the name of the chart and its ending.
    """
    chart = f"ablation{suffix}.png"
    first, more = warnings(board), ablation_notes(board)
    parts = [f"## {escape_markdown(board.title)}", *(f"**{escape_markdown(line)}**" for line in first)]
    parts += [ablation_table(board), f"![widths and accuracy over t and s]({chart})"]
    parts += ["\n".join(f"- {escape_markdown(note)}" for note in more)]
    return Section(
        markdown="\n\n".join(parts) + "\n",
        terminal="\n\n".join([board.title, _terminal_table(board), wrap([*first, *more[:2]])]),
        files={chart: ablation_png(board)},
    )


def ablation_table(board: Leaderboard) -> str:
    """Widths, size and accuracy for every t and s, sorted by these; criteria without a result have blank cells."""
    channels = {row.channels for row in board.rows if row.channels is not None}
    of = f" of {channels.pop():.0f}" if len(channels) == 1 else ""
    columns: dict[str, Callable[[Row], str]] = {
        "criterion": lambda row: row.title,
        "t": lambda row: str(row.rule.neighbors) if row.rule else "",
        "s": lambda row: f"{row.rule.threshold:g}" if row.rule else "",
        "seeds": lambda row: seeds(board, row),
        f"channels kept{of}": lambda row: format_number(row.channels_kept, 1),
        "params": lambda row: cost(row.params, row.params_reduction),
        "FLOPs (fvcore)": lambda row: cost(row.flops, row.flops_reduction),
    }
    return draw(list(columns) + [f"{stage} (%)" for stage in board.stages], _lines(board, columns), "github")


def _terminal_table(board: Leaderboard) -> str:
    columns: dict[str, Callable[[Row], str]] = {
        "criterion": lambda row: row.title,
        "channels": lambda row: format_number(row.channels_kept, 1),
        "params": lambda row: reduction(row.params_reduction),
        "FLOPs": lambda row: reduction(row.flops_reduction),
    }
    headings = list(columns) + [f"{stage} (%)" for stage in board.stages]
    return draw_narrow(headings, _lines(board, columns))


def _lines(board: Leaderboard, columns: dict[str, Callable[[Row], str]]) -> Sequence[Sequence[str]]:
    lines = [
        [
            *(cell(row) for cell in columns.values()),
            *(format_percent(row.stages.get(stage)) for stage in board.stages),
        ]
        for row in sorted(board.rows, key=_parameters)
    ]
    for title in board.without_result:
        blank = dict.fromkeys(columns, "") | {"criterion": f"{title} {MARK}"}
        if "seeds" in blank:
            blank["seeds"] = f"0 of {len(board.seeds)}"
        lines.append([*blank.values(), *[""] * len(board.stages)])
    return lines


def _parameters(row: Row) -> tuple[int, float, str]:
    return (row.rule.neighbors, row.rule.threshold, row.criterion) if row.rule else (0, 0.0, row.criterion)


def ablation_notes(board: Leaderboard) -> list[str]:
    """What a reader must know to judge an ablation."""
    conditions = board.setup.conditions
    has_adjusted = any(row.one_shot_bn for row in board.rows)
    adjusted = " BN adjusted: the statistics of batch normalization are adjusted on the calibration images."
    return [
        "The published rule decides by t (how many neighbors a kept channel may remove) and s (the similarity they "
        "must have) how many channels are kept, so that rows end at different sizes: accuracies are to be read "
        "together with the FLOPs, and no row is better than another by accuracy alone.",
        interval(board.seeds),
        f"Before fine-tuning: nothing is trained after channels are removed.{adjusted if has_adjusted else ''}",
        f"{board.network}: base {format_percent(board.rows[0].base)} % on {board.test_images} "
        f"test images; {conditions.calibration_images} training images for calibration.{kept_layers(board)}",
        f"FLOPs are {board.flops_unit}; reductions are in brackets.",
        *provenance(board),
    ]
