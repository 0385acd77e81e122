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

_RANKINGS = {
    "local": "The same share of the channels of every coupled group is removed, as near as widths allow; channels are "
    "ranked within their group.",
    "global": "The channels of all coupled groups are ranked together, so that each criterion chooses its own widths.",
    "isomorphic": "Channels are ranked together within groups of the same structure, and the same share is removed of "
    "each kind; each criterion chooses its own widths.",
    "sensitivity": "Widths follow from how much the output changes on calibration images when channels of a group "
    "are removed in the criterion's order, weighed against what that saves; each criterion gets its own widths.",
}

_AUGMENTATIONS = {
    "none": "",
    "flip": ", random flips",
    "crop-flip": ", random crops and flips",
    "crop-flip-color": ", random crops, flips, contrast and color",
}
_OBJECTIVES = {
    "labels": "fine-tuning",
    "recovery": "training without labels by foad_plugins.recover,",
    "distillation": "fine-tuning without labels, by distillation of the network before pruning,",
    "arcface": "fine-tuning by ArcFace",
}


def notes(board: Leaderboard) -> list[str]:
    """What a reader must know to judge the table, one sentence or two each, as plain text."""
    return [
        *warnings(board),
        interval(board.seeds),
        *_stages(board),
        *_items(board),
        *_shared_base(board),
        f"FLOPs are {board.flops_unit}; reductions are in brackets.",
        *_target(board),
        _training(board),
        *_measured(board),
        _sorting(board),
        *provenance(board),
    ]


def _items(board: Leaderboard) -> list[str]:
    """What the accuracies are fractions of."""
    if is_verification(board):
        pairs = f"Accuracy is on {board.test_images} pairs; one pair is {100 / board.test_images:.2f} points."
        return [pairs, *verification_notes(board)]
    return [f"Accuracy is on {board.test_images} test images; one image is {100 / board.test_images:.2f} points."]


def interval(seeds: tuple[int, ...]) -> str:
    """What ± means."""
    listed = ", ".join(map(str, seeds))
    if len(seeds) < 2:
        return f"One seed ({listed}), so the spread is not known."
    few = " With so few seeds the interval itself is uncertain." if len(seeds) < 5 else ""
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(seeds) - 1)
    return (
        f"± is half a 95 % confidence interval of the mean over {len(seeds)} seeds ({listed}), by Student's t: "
        f"{quantile:.2f} standard errors.{few}"
    )


def warnings(board: Leaderboard) -> list[str]:
    """What must not be overlooked: smoke runs, missing seeds, failures."""
    lines = smoke(board)
    if not board.is_complete:
        unranked = "" if board.setup.kind == "ablation" else " They follow the others and have no rank."
        lines.append(
            f"Not every criterion has all seeds. Those marked {MARK} lack some, so that their means are over "
            f"other seeds.{unranked}"
        )
    return lines + failed(board.failures)


def smoke(board: Leaderboard) -> list[str]:
    """That the numbers measure nothing, for a smoke run."""
    if not board.is_smoke:
        return []
    return [
        f"SMOKE RUN: no epoch took more than {board.setup.conditions.limit_steps} steps. These numbers show that the "
        "suite works. They measure nothing else, and nothing may be concluded from them."
    ]


def failed(failures: tuple[FailureRecord, ...]) -> list[str]:
    """The runs that ended without a result, and why."""
    return [
        f"Failed: {failure.inputs.criterion.title}, seed {failure.inputs.seed}: {failure.reason}"
        for failure in failures
    ]


def _stages(board: Leaderboard) -> list[str]:
    """What the columns mean that not every table has."""
    lines = []
    if any(row.one_shot_bn for row in board.rows):
        lines.append(
            "Before fine-tuning: channels are removed, and compensated where the row names a method, with unchanged "
            "statistics of batch normalization. BN adjusted: the same, with these statistics adjusted on the "
            f"calibration images.{' Fine-tuning starts from there.' if board.is_tuned else ''}"
        )
    if board.is_tuned:
        lines.append("Fine-tuned is the accuracy after the last epoch.")
    if any(row.best_epoch for row in board.rows):
        lines.append(
            "Best epoch is the highest accuracy after any epoch. It is chosen on the test images that it is measured "
            "on, and therefore too high. It is shown because papers often report it, and no rank depends on it."
        )
    return lines + difference_note(board)


def difference_note(board: Leaderboard) -> list[str]:
    """What the difference to the reference means, where there is one."""
    if not any(row.difference for row in board.rows):
        return []
    return [
        f"Δ is the difference in accuracy, {board.stages[-1]}, to {board.setup.reference}, seed by seed: on the same "
        f"{_varied(board)}. Where its interval contains 0, no difference has been shown."
    ]


def _shared_base(board: Leaderboard) -> list[str]:
    """Where all seeds start from one network, their spread does not cover the choice of test images."""
    if board.setup.conditions.base_weights is None:
        return []
    base = board.rows[0].base.mean
    error = 100 * (base * (1 - base) / board.test_images) ** 0.5
    items = "pairs" if is_verification(board) else "images"
    return [
        f"All seeds prune the same base model, so ± covers the {_varied(board)}, and not the choice of test {items}: "
        f"one standard error of {base:.2%} on {board.test_images} {items} is {error:.1f} points."
    ]


def _target(board: Leaderboard) -> list[str]:
    setup, target = board.setup, board.setup.conditions.target
    if target.is_free:
        return []
    costs = {"FLOPs": target.flops_reduction or target.operating_point, "parameters": target.params_reduction}
    both = all(costs.values())
    cost = " and ".join(name for name, value in costs.items() if value)
    tolerance = f"{100 * setup.conditions.tolerance:.3g}%"
    lines = [f"Target: {target}, within {tolerance} of the base model's {cost}."]
    rules = [row.criterion for row in board.rows if row.rule]
    if rules:
        names = ", ".join(rules)
        lines.append(
            f"{names}: the published rule decides in each layer how many channels are removed; nothing is ranked."
        )
    others = [row.criterion for row in board.rows if row.runs[0].inputs.criterion.ranking not in (None, setup.ranking)]
    if others:
        lines.append(f"{', '.join(others)}: widths by sensitivity, unlike the other rows.")
    if setup.pruner == "one ratio":
        lines.append("One pruning ratio for all layers; channels are ranked within their coupled group.")
    elif both and setup.ranking != "sensitivity":
        lines.append(
            "Channels are ranked within their coupled group; the share that is removed is another one for groups with "
            "many parameters for their FLOPs."
        )
    else:
        lines.append(_RANKINGS[setup.ranking])
    return lines


def _training(board: Leaderboard) -> str:
    conditions = board.setup.conditions
    return (
        f"{conditions.model.name} on {conditions.dataset.name}: {board.train_images} training images, "
        f"{_base(board)}; {_tuning(conditions.finetune_recipe)}; {conditions.calibration_images} training images for "
        f"calibration.{kept_layers(board)}"
    )


def kept_layers(board: Leaderboard) -> str:
    """A sentence with the layers that are not pruned, preceded by a space; empty where there are none."""
    layers = ", ".join(board.setup.conditions.ignored_layers)
    return f" Layers that keep all their channels: {layers}." if layers else ""


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
    """How times and memory were measured."""
    lines = []
    if any(row.latency for row in board.rows):
        lines.append(
            "Latency is the median of calls in eval mode after a warm-up, base and pruned model interleaved, on "
            f"{board.hardware}; speed-up is the first over the second. The base model is timed again in every run, so "
            "that its column shows how steady the machine was."
        )
    if any(row.peak_bytes_to_score for row in board.rows):
        how = "allocations of torch" if board.setup.device == "cuda" else "growth of the process, sampled"
        lines.append(f"Score memory is the peak of what a criterion took in addition to what was in use before: {how}.")
    return lines


def _sorting(board: Leaderboard) -> str:
    overlap = "" if board.setup.reference else " Where intervals overlap, no difference is shown."
    return f"Sorted by mean accuracy, {board.stages[-1]}.{overlap}"


def _varied(board: Leaderboard) -> str:
    """What differs between seeds where all start from one network."""
    return "calibration images and order of training" if board.is_tuned else "calibration images"


def provenance(board: Leaderboard) -> list[str]:
    """Versions and device, then the commits of the harness where they are known."""
    versions, environments = board.setup.versions, board.environments
    lines = [
        f"foad-plugins {versions.foad_plugins}, torch {versions.torch}, torch-pruning {versions.torch_pruning}, fvcore "
        f"{versions.fvcore}; Python {_join(environment.python for environment in environments)}, "
        f"{_join(environment.platform for environment in environments)}; {board.hardware}."
    ]
    commits = _join(
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


def _join(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
