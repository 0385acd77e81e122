"""One entry, one seed: score, prune, evaluate, fine-tune, evaluate."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import torch
from torch import nn

from .. import count_flops, count_params
from .base_models import BaseModel
from .criteria import CriterionContext, Scorer, build_criterion
from .datasets import ImageData, calibration_images, calibration_part
from .environment import Environment
from .pruning import PrunedModel, layer_widths, prune_to_flops
from .records import Accuracies, Cost, RunInputs, RunRecord
from .scoring import ScoreBook
from .training import evaluate, train

__all__ = ["criterion_for", "run_one"]


def criterion_for(inputs: RunInputs, data: ImageData) -> Scorer:
    """The run's criterion with the calibration images of its seed and their labels, which all criteria share.

    Raises:
        ValueError: if the criterion's settings or the number of images do not fit.
    """
    images, labels = calibration_part(data, inputs.setup.conditions.calibration_images, seed=inputs.seed)
    return build_criterion(inputs.criterion, CriterionContext(images=images, seed=inputs.seed, labels=labels))


def run_one(inputs: RunInputs, data: ImageData, base: BaseModel, *, quiet: bool = False) -> RunRecord:
    """Do a run and return its record; the base model stays as it is.

    Raises:
        BadScoresError: if the criterion does not give one finite score a channel.
        FlopsTargetError: if the FLOPs target cannot be met.
        TrainingDivergedError: if fine-tuning fails.
    """
    start = time.perf_counter()
    setup, entry = inputs.setup, inputs.criterion
    conditions = setup.conditions
    book = ScoreBook(criterion_for(inputs, data), entry.title)

    def pruned_copy(*, reestimate_bn: bool) -> PrunedModel:
        return prune_to_flops(
            base.model,
            _images(inputs, data),
            book,
            flops=1 - conditions.flops_reduction,
            tolerance=conditions.tolerance,
            ranking=setup.ranking,
            compensate=entry.compensate,
            reestimate_bn=reestimate_bn,
        )

    before = _cost(base.model, data.example)
    pruned = pruned_copy(reestimate_bn=False)
    one_shot = evaluate(pruned.model, data.test_images, data.test_labels)
    one_shot_bn = None
    if entry.reestimate_bn:
        pruned = pruned_copy(reestimate_bn=True)
        one_shot_bn = evaluate(pruned.model, data.test_images, data.test_labels)
    fine_tuned = None
    if conditions.finetune_recipe.epochs:
        train(
            pruned.model,
            data.train_images,
            data.train_labels,
            conditions.finetune_recipe,
            seed=inputs.seed,
            description=f"seed {inputs.seed}: {entry.title}",
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
        accuracy=Accuracies(base=base.accuracy, one_shot=one_shot, one_shot_bn=one_shot_bn, fine_tuned=fine_tuned),
        before=before,
        after=_cost(pruned.model, data.example),
        flops_target=before.flops * (1 - conditions.flops_reduction),
        pruning_ratio=pruned.pruning_ratio,
        seconds_to_score=book.seconds,
        seconds_total=time.perf_counter() - start,
    )


def _images(inputs: RunInputs, data: ImageData) -> torch.Tensor:
    return calibration_images(data, inputs.setup.conditions.calibration_images, seed=inputs.seed)


def _cost(model: nn.Module, example: torch.Tensor) -> Cost:
    return Cost(params=count_params(model), flops=count_flops(model, example), widths=layer_widths(model))
