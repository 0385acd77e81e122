"""What a reader must know to judge a leaderboard."""

from __future__ import annotations

from collections.abc import Iterable

from scipy import stats

from ...records.schema import FailureRecord
from ...training.recipe import Recipe
from ..data.estimates import CONFIDENCE
from ..data.leaderboard import MARK, Leaderboard
from ..data.verification import is_verification
from .verification import verification_notes

__all__ = ["failed", "interval", "notes", "origin", "smoke", "warnings_first"]

_RANKINGS = {
    "local": "Every coupled group loses the same share of its channels, as near as widths allow; channels are ranked "
    "within their group.",
    "global": "The channels of all coupled groups are ranked together, so that each entry chooses its own widths.",
    "isomorphic": "Channels are ranked together within groups of the same structure, each kind of which loses the same "
    "share; each entry chooses its own widths.",
}


_AUGMENTATIONS = {
    "none": "",
    "flip": ", random flips",
    "crop-flip": ", random crops and flips",
    "crop-flip-color": ", random crops, flips, contrast and color",
}
_OBJECTIVES = {
    "labels": "fine-tuning",
    "distillation": "fine-tuning without labels, by distillation of the network before pruning,",
    "arcface": "fine-tuning by ArcFace",
}


def notes(board: Leaderboard) -> list[str]:
    """What a reader must know to judge the table, one sentence or two each, as plain text."""
    return [
        *warnings_first(board),
        interval(board.seeds),
        *_stages(board),
        *_items(board),
        *_shared_base(board),
        f"FLOPs are {board.flops_unit}; reductions are in brackets.",
        *_target(board),
        _training(board),
        *_measured(board),
        _sorting(board),
        *origin(board),
    ]


def _items(board: Leaderboard) -> list[str]:
    """What accuracies are fractions of."""
    if is_verification(board):
        pairs = f"Accuracy is on {board.test_images} pairs; one pair is {100 / board.test_images:.2f} points."
        return [pairs, *verification_notes(board)]
    return [f"Accuracy is on {board.test_images} test images; one image is {100 / board.test_images:.2f} points."]


def interval(seeds: tuple[int, ...]) -> str:
    """What ± means."""
    listed = ", ".join(map(str, seeds))
    if len(seeds) < 2:
        return f"One seed ({listed}), so no spread is known."
    few = " Of so few seeds the interval itself is uncertain." if len(seeds) < 5 else ""
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(seeds) - 1)
    return (
        f"± is half a 95 % confidence interval of the mean over {len(seeds)} seeds ({listed}), by Student's t: "
        f"{quantile:.2f} standard errors.{few}"
    )


def warnings_first(board: Leaderboard) -> list[str]:
    """What must not be overlooked: smoke runs, missing seeds, failures."""
    lines = smoke(board)
    if not board.is_complete:
        behind = "" if board.setup.kind == "ablation" else " They stand behind the others and have no rank."
        lines.append(
            f"Not every entry has all seeds. Those marked {MARK} lack some, so that their means are over other seeds."
            f"{behind}"
        )
    return lines + failed(board.failures)


def smoke(board: Leaderboard) -> list[str]:
    """That figures measure nothing, if so."""
    if not board.is_smoke:
        return []
    return [
        f"SMOKE RUN: no epoch took more than {board.setup.conditions.limit_steps} steps. These figures show that the "
        "suite works. They measure nothing else, and nothing may be concluded from them."
    ]


def failed(failures: tuple[FailureRecord, ...]) -> list[str]:
    """The runs that ended without a result, and why."""
    return [
        f"Failed: {failure.inputs.criterion.title}, seed {failure.inputs.seed}: {failure.reason}"
        for failure in failures
    ]


def _stages(board: Leaderboard) -> list[str]:
    """What columns mean that not every table has."""
    lines = []
    if any(row.one_shot_bn for row in board.rows):
        lines.append(
            "One-shot: channels removed, and taken over by their readers where the row says so, with the statistics of "
            "batch normalization as they were. BN moved: the same, with these statistics moved by the calibration "
            f"images.{' Fine-tuning starts from there.' if board.is_tuned else ''}"
        )
    if board.is_tuned:
        lines.append("Fine-tuned is the accuracy after the last epoch, whatever it is.")
    if any(row.best_epoch for row in board.rows):
        lines.append(
            "Best epoch is the highest accuracy after any epoch, chosen on the test images it is measured on and "
            "therefore too good. It stands there because papers often report it, and decides nothing here."
        )
    if any(row.difference for row in board.rows):
        lines.append(
            f"Δ is the difference in {_last_stage(board)} accuracy to {board.setup.reference}, seed by "
            f"seed: on the same {_varied(board)}. Where its interval holds 0, no difference has been shown."
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


def _target(board: Leaderboard) -> list[str]:
    setup, target = board.setup, board.setup.conditions.target
    if target.is_free:
        return []
    asked = {"FLOPs": target.flops_reduction or target.operating_point, "parameters": target.params_reduction}
    both = all(asked.values())
    cost = " and ".join(name for name, value in asked.items() if value)
    tolerance = f"{100 * setup.conditions.tolerance:.3g}%"
    lines = [f"Target: {target}, within {tolerance} of the base model's {cost}."]
    rules = [row.criterion for row in board.rows if row.rule]
    if rules:
        names = ", ".join(rules)
        lines.append(f"{names}: the published rule decides layer by layer how many channels go, and no ranking does.")
    if setup.pruner == "one ratio":
        lines.append("One pruning ratio for all layers; channels are ranked within their coupled group.")
    elif both:
        lines.append(
            "Channels are ranked within their coupled group; groups that hold many parameters for their FLOPs lose "
            "another share of their channels than the others do."
        )
    else:
        lines.append(_RANKINGS[setup.ranking])
    return lines


def _training(board: Leaderboard) -> str:
    conditions = board.setup.conditions
    spared = ", ".join(conditions.ignored_layers)
    return (
        f"{conditions.model.name} on {conditions.dataset.name}: {board.train_images} training images, "
        f"{_base(board)}; {_tuning(conditions.finetune_recipe)}; {conditions.calibration_images} training images for "
        f"calibration.{f' Layers that keep all their channels: {spared}.' if spared else ''}"
    )


def _base(board: Leaderboard) -> str:
    conditions = board.setup.conditions
    if conditions.base_recipe is not None:
        return f"{conditions.base_recipe.epochs} epochs"
    return f"base weights from {conditions.base_weights} (SHA-256 {(board.setup.weights_hash or '')[:16]})"


def _tuning(recipe: Recipe) -> str:
    if not recipe.epochs:
        return "no fine-tuning"
    augmented = _AUGMENTATIONS[recipe.augmentation]
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    return f"{_OBJECTIVES[recipe.objective]} {epochs} from learning rate {recipe.learning_rate:g}{augmented}"


def _measured(board: Leaderboard) -> list[str]:
    """How times and memory came about."""
    lines = []
    if any(row.latency for row in board.rows):
        lines.append(
            "Latency is the median of calls in eval mode after a warm-up, base and pruned model by turns, on "
            f"{board.place}; speed-up is the first over the second. The base model is timed anew in every run, so that "
            "its column shows how steady the machine was."
        )
    if any(row.peak_bytes_to_score for row in board.rows):
        how = (
            "allocations of torch" if board.setup.device == "cuda" else "growth of the process, seen from time to time"
        )
        lines.append(f"Score memory is the most that a criterion took beyond what was in use before: {how}.")
    return lines


def _sorting(board: Leaderboard) -> str:
    apart = "" if board.setup.reference else " Means whose intervals overlap are not told apart here."
    return f"Sorted by mean {_last_stage(board)} accuracy.{apart}"


def _last_stage(board: Leaderboard) -> str:
    """What the rows are compared by."""
    if board.is_tuned:
        return "fine-tuned"
    return "BN moved" if any(row.one_shot_bn for row in board.rows) else "one-shot"


def _varied(board: Leaderboard) -> str:
    """What a seed decides where all start from one network."""
    return "calibration images and order of training" if board.is_tuned else "calibration images"


def origin(board: Leaderboard) -> list[str]:
    """Versions and device, then the commits of the harness, where they are known."""
    versions, environments = board.setup.versions, board.environments
    lines = [
        f"foad-plugins {versions.foad_plugins}, torch {versions.torch}, torch-pruning {versions.torch_pruning}, fvcore "
        f"{versions.fvcore}; Python {_listed(environment.python for environment in environments)}, "
        f"{_listed(environment.platform for environment in environments)}; {board.place}."
    ]
    commits = _listed(
        environment.git_commit[:12] + _dirty(environment.git_commit)
        for environment in environments
        if environment.git_commit
    )
    if commits:
        unknown = any(environment.git_commit is None for environment in environments)
        lines.append(f"Commit of the harness: {commits}{', and unknown' if unknown else ''}.")
    return lines


def _dirty(commit: str) -> str:
    return " with changes" if commit.endswith("-dirty") else ""


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
