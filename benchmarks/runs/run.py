"""One criterion, one seed: score, prune, evaluate, fine-tune, evaluate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ... import count_flops, count_params, save_pruned
from ..criteria import CriterionContext, Scorer, build_criterion
from ..datasets import Batch, ImageSource
from ..datasets.evaluation import Evaluation, Stage
from ..records.environment import Environment
from ..records.schema import Accuracies, BestEpoch, Cost, RunInputs, RunRecord
from ..training.recipe import Epoch
from ..training.recovery import recover_by_recipe
from ..training.resume import state_file
from ..training.train import train
from .base_models import BaseModel, hardware_of
from .cached_scores import CachedScores
from .profiling import PeakMemory, latencies
from .prune_to_target import PrunedModel, layer_widths, prune_by_rule, prune_to_target


def criterion_for(inputs: RunInputs, data: ImageSource) -> Scorer:
    """The run's criterion with the calibration images of its seed and their labels, which all criteria share.

    Raises:
        ValueError: if the criterion's settings or the number of images do not fit.
    """
    return _build(inputs, data.calibration(inputs.setup.conditions.calibration_images, seed=inputs.seed))


def _build(inputs: RunInputs, calibration: Batch) -> Scorer:
    images, labels = calibration
    return build_criterion(inputs.criterion, CriterionContext(images=images, seed=inputs.seed, labels=labels))


def run_one(
    inputs: RunInputs,
    data: ImageSource,
    base: BaseModel,
    *,
    states: Path | None = None,
    models: Path | None = None,
    quiet: bool = False,
) -> RunRecord:
    """Do a run and return its record; the base model is unchanged.

    Args:
        inputs: what to do.
        data: on what.
        base: what is pruned, and the teacher if the recipe distills.
        states: folder of the states of unfinished trainings; None for none.
        models: folder that gets the final network, under the record's name; None for none.
        quiet: no progress bar.

    Raises:
        CriterionError: if the criterion fails, or does not give one finite score a channel.
        UnreachableTargetError: if the target cannot be met.
        TrainingDivergedError: if fine-tuning fails.
    """
    start = time.perf_counter()
    conditions, criterion = inputs.setup.conditions, inputs.criterion
    images, labels = data.calibration(conditions.calibration_images, seed=inputs.seed)
    memory = PeakMemory(images.device)
    scores = CachedScores(_build(inputs, (images, labels)), criterion.title, memory)
    before = _cost(base.model, data.example)
    pruned = _pruned(inputs, base.model, images, scores, reestimate_bn=False)
    judged: dict[Stage, Evaluation] = {"base": base.evaluation, "one_shot": data.evaluate(pruned.model)}
    if criterion.reestimate_bn:
        pruned = _pruned(inputs, base.model, images, scores, reestimate_bn=True)
        judged["one_shot_bn"] = data.evaluate(pruned.model)
    epochs: list[Epoch] = []
    if conditions.finetune_recipe.epochs:
        epochs = _fine_tuned(inputs, pruned.model, base.model, data, states, quiet)
        if data.evaluates_in_detail:
            judged["fine_tuned"] = data.evaluate(pruned.model)
    if models is not None:
        models.mkdir(parents=True, exist_ok=True)
        save_pruned(pruned.model, (models / inputs.file_name).with_suffix(".safetensors"))
    after = _cost(pruned.model, data.example)
    share = None if criterion.rule is not None else conditions.target.flops_reduction
    return RunRecord(
        inputs=inputs,
        environment=Environment.current(inputs.setup.device),
        created=datetime.now(timezone.utc),
        base_weights_hash=base.weights_hash,
        train_images=data.train_count,
        test_images=data.test_count,
        accuracy=Accuracies(
            base=base.accuracy,
            one_shot=judged["one_shot"].accuracy,
            one_shot_bn=judged["one_shot_bn"].accuracy if criterion.reestimate_bn else None,
            fine_tuned=epochs[-1].test_accuracy if epochs else None,
            best_epoch=_best(epochs),
        ),
        evaluations=judged if data.evaluates_in_detail else {},
        epochs=tuple(epochs),
        before=before,
        after=after,
        latency=tuple(latencies(base.model, pruned.model, data.example, conditions.latency_batches)),
        removed=pruned.removed,
        flops_target=None if share is None else before.flops * (1 - share),
        pruning_ratio=pruned.pruning_ratio,
        seconds_to_score=scores.seconds,
        peak_bytes_to_score=memory.peak,
        seconds_total=time.perf_counter() - start,
    )


def _pruned(
    inputs: RunInputs, model: nn.Module, images: torch.Tensor, scores: CachedScores, *, reestimate_bn: bool
) -> PrunedModel:
    conditions, criterion = inputs.setup.conditions, inputs.criterion
    common: dict[str, Any] = {
        "ignored_layers": conditions.ignored_layers,
        "compensate": criterion.compensate,
        "reestimate_bn": reestimate_bn,
    }
    if criterion.rule is not None:
        if not scores.seconds:
            scores.calibrate(model, images)
        return prune_by_rule(model, images, criterion.rule, **common)
    ranking, tolerance = criterion.ranking or inputs.setup.ranking, conditions.tolerance
    return prune_to_target(model, images, scores, conditions.target, tolerance=tolerance, ranking=ranking, **common)


def _fine_tuned(
    inputs: RunInputs, model: nn.Module, base: nn.Module, data: ImageSource, states: Path | None, quiet: bool
) -> list[Epoch]:
    conditions = inputs.setup.conditions
    recipe = conditions.finetune_recipe
    common: dict[str, Any] = {
        "seed": inputs.seed,
        "hardware": hardware_of(inputs.setup),
        "state": state_file(states, inputs.file_name),
        "limit_steps": conditions.limit_steps,
        "quiet": quiet,
    }
    if recipe.objective == "recovery":
        return recover_by_recipe(model, base, data, recipe, **common)
    description = f"seed {inputs.seed}: {inputs.criterion.title}"
    return train(model, data, recipe, measure=True, teacher=base, description=description, **common)


def _best(epochs: Sequence[Epoch]) -> BestEpoch | None:
    measured = [
        (each.test_accuracy, -number) for number, each in enumerate(epochs, 1) if each.test_accuracy is not None
    ]
    # Of several epochs the last one alone was measured: nothing was chosen.
    if len(measured) < min(2, len(epochs)) or not measured:
        return None
    accuracy, number = max(measured)
    return BestEpoch(epoch=-number, accuracy=accuracy)


def _cost(model: nn.Module, example: torch.Tensor) -> Cost:
    return Cost(params=count_params(model), flops=count_flops(model, example), widths=layer_widths(model))
