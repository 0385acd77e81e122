"""The table of verification: standard errors, true accept rates (TAR), and comparisons pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ...datasets.evaluation import Evaluation, Stage
from ..data.leaderboard import Leaderboard, Row
from ..data.paired import Paired
from ..data.verification import (
    VERIFICATION_STAGES,
    base_evaluation,
    paired_with_base,
    paired_with_reference,
    stage_evaluations,
)
from .tables import draw_markdown


def verification_table(board: Leaderboard) -> str:
    """The table in Markdown."""
    return draw_markdown(*verification_cells(board))


def verification_cells(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    """Accuracy with its standard error over the folds, true accept rate, and the comparison pair by pair.

    Returns:
        Headings and lines.
    """
    far = base_evaluation(board).far
    columns = ["criterion", "stage", "accuracy (%)", "standard error (points)", f"TAR at FAR {far:g} (%)"]
    name = board.setup.reference
    columns.append("Δ base on the same pairs (points)")
    compared = [paired_with_reference(board, row) for row in board.rows]
    if any(compared):
        columns += [f"Δ {name} on the same pairs (points)", "McNemar's p by seed"]
    lines = [["not pruned", "base", *_accuracies(board.rows[0], "base")]]
    for row, paired in zip(board.rows, compared, strict=True):
        stages = [stage for stage in VERIFICATION_STAGES if stage != "base" and stage in row.runs[0].evaluations]
        lines += [[row.criterion, VERIFICATION_STAGES[stage], *_accuracies(row, stage)] for stage in stages]
        base = paired_with_base(board, row)
        lines[-1].append("" if base is None else _interval(base))
        if paired is not None:
            lines[-1] += [_interval(paired), ", ".join(f"{value:.2g}" for value in paired.p_values)]
    return columns, [line + [""] * (len(columns) - len(line)) for line in lines]


def verification_notes(board: Leaderboard) -> list[str]:
    """How to read the table."""
    settings = board.setup.conditions.dataset.settings
    source = ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
    lines = [
        f"Accuracy is the mean over {len(base_evaluation(board).folds)} folds of pairs, with threshold and "
        "mean embedding chosen on the other folds; its standard error is that over the folds, averaged over seeds. TAR "
        "is the share of pairs of one person that is accepted at a threshold that accepts at most the share FAR of the "
        "pairs of different people.",
        f"Data: {source}. Calibration, adjusted statistics and fine-tuning use no image of any pair.",
    ]
    others = " or the reference" if board.setup.reference is not None else ""
    lines.append(
        f"Δ on the same pairs: share of correct pairs after the last stage minus that of the base{others}, mean over "
        "seeds, with a 95 % interval by a bootstrap that draws pairs with all their seeds. McNemar's test is exact, "
        "one value for each seed. That pairs share people is not taken into account."
    )
    return lines


def _accuracies(row: Row, stage: Stage) -> list[str]:
    found: Sequence[Evaluation] = [run.evaluations[stage] for run in row.runs if stage in run.evaluations]
    errors = [evaluation.standard_error for evaluation in found if evaluation.standard_error is not None]
    tar = [details.tar for details in stage_evaluations(row, stage)]
    return [
        f"{100 * statistics.fmean(evaluation.accuracy for evaluation in found):.2f}",
        f"{100 * statistics.fmean(errors):.2f}" if errors else "",
        f"{100 * statistics.fmean(tar):.1f}" if tar else "",
    ]


def _interval(paired: Paired) -> str:
    low, high = 100 * paired.low, 100 * paired.high
    return f"{100 * paired.difference:+.2f} [{low:+.2f}, {high:+.2f}]"
