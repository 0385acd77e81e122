"""One criterion, one seed: score, prune, evaluate, fine-tune, evaluate."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import torch
from torch import nn

from .. import count_flops, count_params
from .base_models import BaseModel
from .criteria import CriterionContext, Scorer, build_criterion
from .datasets import ImageData, calibration_images
from .environment import Environment
from .models import classifier_of
from .pruning import layer_widths, prune_to_flops
from .records import Accuracies, Cost, RunInputs, RunRecord
from .scoring import ScoreBook
from .training import evaluate, train

__all__ = ["criterion_for", "run_one"]


def criterion_for(inputs: RunInputs, data: ImageData) -> Scorer:
    """The run's criterion with the calibration images of its seed, which all criteria of that seed share.

    Raises:
        ValueError: if the criterion's settings or the number of images do not fit.
    """
    images = calibration_images(data, inputs.setup.conditions.calibration_images, seed=inputs.seed)
    return build_criterion(inputs.criterion, CriterionContext(images=images, seed=inputs.seed))


def run_one(inputs: RunInputs, data: ImageData, base: BaseModel, *, quiet: bool = False) -> RunRecord:
    """Do a run and return its record; the base model stays as it is.

    Raises:
        BadScoresError: if the criterion does not give one finite score a channel.
        FlopsTargetError: if the FLOPs target cannot be met.
        TrainingDivergedError: if fine-tuning fails.
    """
    start = time.perf_counter()
    conditions = inputs.setup.conditions
    title = inputs.criterion.title
    before = _cost(base.model, data.example)
    target = before.flops * (1 - conditions.flops_reduction)
    classifier = classifier_of(base.model)
    pruned = prune_to_flops(
        base.model,
        data.example,
        ScoreBook(criterion_for(inputs, data), title),
        target=target,
        tolerance=conditions.tolerance,
        ignored=[name for name, module in base.model.named_modules() if module is classifier],
    )
    one_shot = evaluate(pruned.model, data.test_images, data.test_labels)
    fine_tuned = None
    if conditions.finetune_recipe.epochs:
        train(
            pruned.model,
            data.train_images,
            data.train_labels,
            conditions.finetune_recipe,
            seed=inputs.seed,
            description=f"seed {inputs.seed}: {title}",
            quiet=quiet,
        )
        fine_tuned = evaluate(pruned.model, data.test_images, data.test_labels)
    return RunRecord(
        inputs=inputs,
        environment=Environment.current(),
        created=datetime.now(timezone.utc),
        base_weights_hash=base.weights_hash,
        train_images=len(data.train_images),
        test_images=len(data.test_images),
        accuracy=Accuracies(base=base.accuracy, one_shot=one_shot, fine_tuned=fine_tuned),
        before=before,
        after=_cost(pruned.model, data.example),
        flops_target=target,
        pruning_ratio=pruned.pruning_ratio,
        seconds_to_score=pruned.seconds_to_score,
        seconds_total=time.perf_counter() - start,
    )


def _cost(model: nn.Module, example: torch.Tensor) -> Cost:
    return Cost(params=count_params(model), flops=count_flops(model, example), widths=layer_widths(model))
