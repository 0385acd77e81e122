"""What a table of verification says beyond accuracies: standard errors, TAR, comparisons pair by pair, ROC."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..evaluation import Evaluation, Stage, Verification, unpack
from ..paired import Paired, compare_pairs
from ..records import RunRecord
from .board import Leaderboard, Row
from .looks import GREY, heading, legend_below, looks, new_figure, png, spelled
from .tables import draw

__all__ = [
    "base_evaluation",
    "is_verification",
    "last_evaluation",
    "paired_with_reference",
    "roc",
    "roc_points",
    "verification_cells",
    "verification_notes",
    "verification_table",
]

_STAGES: dict[Stage, str] = {
    "base": "base",
    "one_shot": "one-shot",
    "one_shot_bn": "BN moved",
    "fine_tuned": "fine-tuned",
}


def is_verification(board: Leaderboard) -> bool:
    """Whether every run of a table was judged by pairs."""
    return all(last_evaluation(run) is not None for row in board.rows for run in row.runs)


def last_evaluation(record: RunRecord) -> Verification | None:
    """Details of the last stage that a run came to."""
    found = [record.evaluations[stage] for stage in _STAGES if stage in record.evaluations]
    return found[-1].verification if found else None


def paired_with_reference(board: Leaderboard, row: Row) -> Paired | None:
    """A row beside the reference on the same pairs, over the seeds both have; None for itself and without any."""
    called = [other for other in board.rows if other.criterion == board.setup.reference]
    # Of two versions of a suite that both use the title, the later one counts.
    reference = max(called, key=lambda other: max(run.created for run in other.runs), default=None)
    if reference is None or reference is row:
        return None
    sides = [_right(other, board.test_images) for other in (row, reference)]
    shared = sorted(sides[0].keys() & sides[1].keys())
    if not shared:
        return None
    return compare_pairs([sides[0][seed] for seed in shared], [sides[1][seed] for seed in shared])


def verification_table(board: Leaderboard, style: str = "simple") -> str:
    """The cells as text.

    Args:
        board: of verification.
        style: as for :func:`~foad_plugins.benchmarks.report.tables.draw`.
    """
    return draw(*verification_cells(board), style)


def verification_cells(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    """Accuracy with its standard error over the folds, true accept rate, and the comparison pair by pair.

    Returns:
        Headings and lines.
    """
    far = base_evaluation(board).far
    columns = ["criterion", "stage", "accuracy (%)", "standard error (points)", f"TAR at FAR {far:g} (%)"]
    name = board.setup.reference
    compared = [paired_with_reference(board, row) for row in board.rows]
    if any(compared):
        columns += [f"Δ {name} on the same pairs (points)", "McNemar's p by seed"]
    lines = [["not pruned", "base", *_figures(board.rows[0], "base")]]
    for row, paired in zip(board.rows, compared, strict=True):
        stages = [stage for stage in _STAGES if stage != "base" and stage in row.runs[0].evaluations]
        lines += [[row.criterion, _STAGES[stage], *_figures(row, stage)] for stage in stages]
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
        "is the share of pairs of one person that is accepted where at most the share FAR of those of different people "
        "is.",
        f"Data: {source}. Calibration, moved statistics and fine-tuning see images of no pair.",
    ]
    if board.setup.reference is not None:
        lines.append(
            f"Δ on the same pairs: share of pairs judged right minus that of {board.setup.reference}, mean over seeds, "
            "with a 95 % interval by a bootstrap that draws pairs with all their seeds. McNemar's test is exact, a "
            "value a seed. That pairs share people is not taken into account."
        )
    return lines


def roc(board: Leaderboard) -> bytes:
    """A PNG of true over false accept rate, of the first seed of each entry and of the network before pruning."""
    figure = new_figure(8, 5.2, entries=len(board.rows) + 1)
    axes = figure.subplots()
    look = looks(board)
    for row in board.rows:
        last = last_evaluation(row.runs[0])
        if last is not None:
            _curve(axes, last, label=spelled(row.criterion), color=look[row.criterion].colour)
    _curve(axes, base_evaluation(board), label="not pruned", color=GREY, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("false accept rate")
    axes.set_ylabel("true accept rate (%)")
    axes.grid(alpha=0.3)
    legend_below(figure, axes)
    figure.suptitle(heading(board))
    return png(figure)


def _curve(axes: Axes, verification: Verification, **style: Any) -> None:
    axes.plot(*roc_points(verification), drawstyle="steps-post", **style)


def roc_points(verification: Verification) -> tuple[list[float], list[float]]:
    """False accept rates above 0, as a logarithmic axis needs them, and the true ones that go with them, in percent."""
    shown = [(far, 100 * tar) for far, tar in verification.roc if far > 0]
    return [far for far, _ in shown], [tar for _, tar in shown]


def base_evaluation(board: Leaderboard) -> Verification:
    """Details of the network before pruning."""
    return _details(board.rows[0], "base")[0]


def _right(row: Row, pairs: int) -> dict[int, NDArray[np.bool_]]:
    found = {}
    for run in row.runs:
        last = last_evaluation(run)
        if last is not None:
            found[run.inputs.seed] = unpack(last.right, pairs)
    return found


def _details(row: Row, stage: Stage) -> list[Verification]:
    found = [run.evaluations[stage].verification for run in row.runs if stage in run.evaluations]
    return [details for details in found if details is not None]


def _figures(row: Row, stage: Stage) -> list[str]:
    found: Sequence[Evaluation] = [run.evaluations[stage] for run in row.runs if stage in run.evaluations]
    errors = [evaluation.standard_error for evaluation in found if evaluation.standard_error is not None]
    tar = [details.tar for details in _details(row, stage)]
    return [
        f"{100 * statistics.fmean(evaluation.accuracy for evaluation in found):.2f}",
        f"{100 * statistics.fmean(errors):.2f}" if errors else "",
        f"{100 * statistics.fmean(tar):.1f}" if tar else "",
    ]


def _interval(paired: Paired) -> str:
    low, high = 100 * paired.low, 100 * paired.high
    return f"{100 * paired.difference:+.2f} [{low:+.2f}, {high:+.2f}]"
