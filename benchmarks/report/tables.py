"""Leaderboards as text: for a terminal and as Markdown."""

from __future__ import annotations

from tabulate import tabulate

from .summary import Leaderboard, Row, Spread

__all__ = ["markdown_section", "notes", "table"]

_HEADERS = (
    "criterion",
    "seeds",
    "base acc. (%)",
    "one-shot acc. (%)",
    "fine-tuned acc. (%)",
    "params",
    "FLOPs (fvcore)",
    "score time (s)",
)


def table(board: Leaderboard, style: str = "simple") -> str:
    """The rows as text.

    Args:
        board: what to show.
        style: one of tabulate's table formats; ``"github"`` gives Markdown.
    """
    return tabulate(
        [_cells(row) for row in board.rows],
        headers=_HEADERS,
        tablefmt=style,
        colalign=("left", *["right"] * (len(_HEADERS) - 1)),
        # Cells are text already; as numbers, tabulate would drop the zero of "97.10".
        disable_numparse=True,
    )


def notes(board: Leaderboard) -> list[str]:
    """What a reader must know to judge the table, one sentence or two each."""
    conditions, versions = board.setup.conditions, board.setup.versions
    tuning = conditions.finetune_recipe
    seeds = _listed(board.seeds)
    lines = [
        f"± is the sample standard deviation over {len(board.seeds)} seeds ({seeds})."
        if len(board.seeds) > 1
        else f"One seed ({seeds}), so no spread is known.",
        f"Accuracy is on {board.test_images} test images; one image is {100 / board.test_images:.2f} points.",
        f"FLOPs are {board.flops_unit}; reductions are in brackets. Target: "
        f"-{conditions.flops_reduction:.0%}, within {conditions.tolerance:.0%} of the base model's.",
        f"{conditions.model.name} on {conditions.dataset.name}: {board.train_images} training images, "
        f"{conditions.base_recipe.epochs} epochs; fine-tuning {tuning.epochs} epochs from learning rate "
        f"{tuning.learning_rate:g}; {conditions.calibration_images} training images for calibration.",
        "One pruning ratio for all layers; channels are ranked within their coupled group.",
        "Sorted by mean fine-tuned accuracy. Means that differ by less than their ± are not told apart here.",
        f"foad-plugins {versions.foad_plugins}, torch {versions.torch}, "
        f"torch-pruning {versions.torch_pruning}, fvcore {versions.fvcore}; "
        f"{board.setup.device}, threads: {_listed(_threads(board))}.",
    ]
    if not board.is_complete:
        lines.insert(0, "Not every criterion has all seeds yet, so these rows do not compare alike.")
    return lines


def markdown_section(board: Leaderboard, plot: str) -> str:
    """Heading, table, plot and notes of one leaderboard.

    Args:
        board: what to show.
        plot: the plot's file name beside the Markdown file.
    """
    lines = "\n".join(f"- {note}" for note in notes(board))
    return f"## {board.setup.suite}\n\n{table(board, 'github')}\n\n![accuracy over FLOPs]({plot})\n\n{lines}\n"


def _cells(row: Row) -> list[str]:
    return [
        row.criterion,
        str(len(row.seeds)),
        _percent(row.base),
        _percent(row.one_shot),
        _percent(row.fine_tuned),
        f"{_short(row.params)} (-{row.params_reduction:.1%})",
        f"{_short(row.flops)} (-{row.flops_reduction:.1%})",
        f"{row.seconds_to_score.mean:.3f}",
    ]


def _percent(value: Spread | None) -> str:
    if value is None:
        return ""
    deviation = "" if value.deviation is None else f" ± {100 * value.deviation:.2f}"
    return f"{100 * value.mean:.2f}{deviation}"


def _short(count: float) -> str:
    """A count with three figures and a metric prefix: 71234 is ``71.2 k``."""
    for prefix in ("", " k", " M", " G"):
        if count < 999.5:
            return f"{count:.3g}{prefix}"
        count /= 1000
    return f"{count:.3g} T"


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def _threads(board: Leaderboard) -> tuple[int, ...]:
    return tuple(sorted({environment.threads for environment in board.environments}))
