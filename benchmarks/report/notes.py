"""What a reader must know to judge a leaderboard."""

from __future__ import annotations

from ..recipe import Recipe
from .summary import Leaderboard

__all__ = ["notes"]


def notes(board: Leaderboard) -> list[str]:
    """What a reader must know to judge the table, one sentence or two each."""
    conditions, versions = board.setup.conditions, board.setup.versions
    seeds = _listed(board.seeds)
    lines = [
        f"± is the sample standard deviation over {len(board.seeds)} seeds ({seeds})."
        if len(board.seeds) > 1
        else f"One seed ({seeds}), so no spread is known.",
        *_stages(board),
        f"Accuracy is on {board.test_images} test images; one image is {100 / board.test_images:.2f} points.",
        *_shared_base(board),
        f"FLOPs are {board.flops_unit}; reductions are in brackets. Target: "
        f"-{conditions.flops_reduction:.0%}, within {conditions.tolerance:.0%} of the base model's.",
        f"{conditions.model.name} on {conditions.dataset.name}: {board.train_images} training images, "
        f"{_base(board)}; {_tuning(conditions.finetune_recipe)}; {conditions.calibration_images} training images for "
        "calibration.",
        _ranking(board),
        _sorting(board),
        f"foad-plugins {versions.foad_plugins}, torch {versions.torch}, "
        f"torch-pruning {versions.torch_pruning}, fvcore {versions.fvcore}; "
        f"{board.setup.device}, threads: {_listed(_threads(board))}.",
    ]
    if not board.is_complete:
        lines.insert(0, "Not every criterion has all seeds yet, so these rows do not compare alike.")
    return lines


def _stages(board: Leaderboard) -> list[str]:
    """What columns mean that not every table has."""
    lines = []
    if any(row.one_shot_bn for row in board.rows):
        lines.append(
            "One-shot: channels removed, and taken over by their readers where the row says so, with the statistics of "
            "batch normalisation as they were. BN moved: the same, with these statistics moved by the calibration "
            f"images.{' Fine-tuning starts from there.' if _is_tuned(board) else ''}"
        )
    if any(row.difference for row in board.rows):
        lines.append(
            f"Δ is the difference in {_last_stage(board)} accuracy to {board.setup.reference}, seed by seed: on the "
            f"same {_varied(board)}."
        )
    return lines


def _shared_base(board: Leaderboard) -> list[str]:
    """Where all seeds start from one network, their spread says nothing of the test images."""
    if board.setup.conditions.base_weights is None:
        return []
    base = board.rows[0].base.mean
    error = 100 * (base * (1 - base) / board.test_images) ** 0.5
    return [
        f"All seeds prune the same base model, so ± covers the {_varied(board)}, and not the choice of test images: "
        f"one standard error of {base:.2%} on so many images is {error:.1f} points."
    ]


def _base(board: Leaderboard) -> str:
    conditions = board.setup.conditions
    if conditions.base_recipe is not None:
        return f"{conditions.base_recipe.epochs} epochs"
    return f"base weights from {conditions.base_weights} (SHA-256 {(board.setup.weights_hash or '')[:16]})"


def _tuning(recipe: Recipe) -> str:
    if not recipe.epochs:
        return "no fine-tuning"
    augmented = ", random crops and flips" if recipe.augmentation == "crop-flip" else ""
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    return f"fine-tuning {epochs} from learning rate {recipe.learning_rate:g}{augmented}"


def _ranking(board: Leaderboard) -> str:
    if board.setup.pruner == "one ratio":
        return "One pruning ratio for all layers; channels are ranked within their coupled group."
    return (
        "Every coupled group loses the same share of its channels, as near as widths allow; channels are ranked within "
        "their group."
    )


def _sorting(board: Leaderboard) -> str:
    return (
        f"Sorted by mean {_last_stage(board)} accuracy. Means that differ by less than their ± are not told apart here."
    )


def _last_stage(board: Leaderboard) -> str:
    """What the rows are compared by."""
    if _is_tuned(board):
        return "fine-tuned"
    return "BN moved" if any(row.one_shot_bn for row in board.rows) else "one-shot"


def _varied(board: Leaderboard) -> str:
    """What a seed decides where all start from one network."""
    return "calibration images and order of training" if _is_tuned(board) else "calibration images"


def _is_tuned(board: Leaderboard) -> bool:
    return bool(board.setup.conditions.finetune_recipe.epochs)


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def _threads(board: Leaderboard) -> tuple[int, ...]:
    return tuple(sorted({environment.threads for environment in board.environments}))
