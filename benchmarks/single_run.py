"""One entry, one seed: score, prune, evaluate, fine-tune, evaluate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import torch
from torch import nn

from .. import count_flops, count_params
from .base_models import BaseModel, hardware_of
from .criteria import CriterionContext, Scorer, build_criterion
from .datasets import Batch, ImageSource
from .environment import Environment
from .measuring import PeakMemory, latencies
from .pruning import PrunedModel, layer_widths, prune_by_rule, prune_to_target
from .recipe import Epoch
from .records import Accuracies, BestEpoch, Cost, RunInputs, RunRecord
from .scoring import ScoreBook
from .training import evaluate, train

__all__ = ["criterion_for", "run_one"]


def criterion_for(inputs: RunInputs, data: ImageSource) -> Scorer:
    """The run's criterion with the calibration images of its seed and their labels, which all criteria share.

    Raises:
        ValueError: if the criterion's settings or the number of images do not fit.
    """
    return _build(inputs, data.calibration(inputs.setup.conditions.calibration_images, seed=inputs.seed))


def _build(inputs: RunInputs, calibration: Batch) -> Scorer:
    images, labels = calibration
    return build_criterion(inputs.criterion, CriterionContext(images=images, seed=inputs.seed, labels=labels))


def run_one(inputs: RunInputs, data: ImageSource, base: BaseModel, *, quiet: bool = False) -> RunRecord:
    """Do a run and return its record; the base model stays as it is.

    Raises:
        CriterionError: if the criterion fails, or does not give one finite score a channel.
        UnreachableTargetError: if the target cannot be met.
        TrainingDivergedError: if fine-tuning fails.
    """
    start = time.perf_counter()
    conditions, entry = inputs.setup.conditions, inputs.criterion
    images, labels = data.calibration(conditions.calibration_images, seed=inputs.seed)
    memory = PeakMemory(images.device)
    book = ScoreBook(_build(inputs, (images, labels)), entry.title, memory)
    before = _cost(base.model, data.example)
    pruned = _pruned(inputs, base.model, images, book, reestimate_bn=False)
    one_shot = evaluate(pruned.model, data)
    one_shot_bn = None
    if entry.reestimate_bn:
        pruned = _pruned(inputs, base.model, images, book, reestimate_bn=True)
        one_shot_bn = evaluate(pruned.model, data)
    epochs: list[Epoch] = []
    if conditions.finetune_recipe.epochs:
        epochs = train(
            pruned.model,
            data,
            conditions.finetune_recipe,
            seed=inputs.seed,
            measure=True,
            hardware=hardware_of(inputs.setup),
            limit_steps=conditions.limit_steps,
            description=f"seed {inputs.seed}: {entry.title}",
            quiet=quiet,
        )
    after = _cost(pruned.model, data.example)
    share = conditions.target.flops_reduction
    return RunRecord(
        inputs=inputs,
        environment=Environment.current(inputs.setup.device),
        created=datetime.now(timezone.utc),
        base_weights_hash=base.weights_hash,
        train_images=data.train_count,
        test_images=data.test_count,
        accuracy=Accuracies(
            base=base.accuracy,
            one_shot=one_shot,
            one_shot_bn=one_shot_bn,
            fine_tuned=epochs[-1].test_accuracy if epochs else None,
            best_epoch=_best(epochs),
        ),
        epochs=tuple(epochs),
        before=before,
        after=after,
        latency=tuple(latencies(base.model, pruned.model, data.example, conditions.latency_batches)),
        removed=pruned.removed,
        flops_target=None if share is None else before.flops * (1 - share),
        pruning_ratio=pruned.pruning_ratio,
        seconds_to_score=book.seconds,
        peak_bytes_to_score=memory.peak,
        seconds_total=time.perf_counter() - start,
    )


def _pruned(
    inputs: RunInputs, model: nn.Module, images: torch.Tensor, book: ScoreBook, *, reestimate_bn: bool
) -> PrunedModel:
    conditions, entry = inputs.setup.conditions, inputs.criterion
    common: dict[str, Any] = {
        "ignored_layers": conditions.ignored_layers,
        "compensate": entry.compensate,
        "reestimate_bn": reestimate_bn,
    }
    if entry.rule is not None:
        if not book.seconds:
            book.calibrate(model, images)
        return prune_by_rule(model, images, entry.rule, **common)
    ranking, tolerance = inputs.setup.ranking, conditions.tolerance
    return prune_to_target(model, images, book, conditions.target, tolerance=tolerance, ranking=ranking, **common)


def _best(epochs: Sequence[Epoch]) -> BestEpoch | None:
    if not epochs:
        return None
    number, best = max(enumerate(epochs, start=1), key=lambda entry: entry[1].test_accuracy)
    return BestEpoch(epoch=number, accuracy=best.test_accuracy)


def _cost(model: nn.Module, example: torch.Tensor) -> Cost:
    return Cost(params=count_params(model), flops=count_flops(model, example), widths=layer_widths(model))
