"""What a training without labels needs: networks that can be compared, the number of steps, the optimizer, the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...calibration.data import Call, first_images
from ...calibration.distributed import raise_on_all_ranks
from ...calibration.preflight import check_forward
from ...calibration.preserve import preserve_state
from .comparison import Comparison
from .data import TrainingData
from .ranks import broadcast_tensors, largest
from .settings import TrainingSettings, make_optimizer
from .state import load_state, save_state
from .trainer import Trainer
from .weights import WorkingWeights

__all__ = ["checked_comparison", "connect_checkpoint", "make_trainer"]

_EPOCHS: Final = 5
_STEPS: Final = 300
"""The fewest steps where neither epochs nor steps are given: a few hundred images make short epochs."""
_IMAGES_FOR_BATCH_STATISTICS: Final = 1024
"""With fewer images, a network that was refitted becomes better with frozen statistics than with those of batches."""


def checked_comparison(
    comparison: Comparison, call: Call, feature_layers: str | Sequence[str], *, transformed: bool
) -> Comparison:
    """The comparison with its feature layers, after both networks have run on an example.

    Args:
        comparison: without layers.
        call: a batch.
        feature_layers: ``"auto"``, or names and patterns.
        transformed: whether a user's transform is called with the input tensor, of which there must be one.

    Raises:
        ValueError: a network does not run, or outputs or feature maps cannot be compared.
    """
    example = first_images(call, 2)
    if transformed and (len(example.args) != 1 or example.kwargs):
        raise ValueError("transform: it is called with one input tensor, and the networks take several inputs")
    for network in (comparison.original, comparison.model):
        check_forward(network, example, comparison.forward_fn)
    with preserve_state(comparison.model), preserve_state(comparison.original):
        comparison.check(example)
        if feature_layers == "auto":
            layers = comparison.find_layers(example)
        else:
            patterns = [feature_layers] if isinstance(feature_layers, str) else feature_layers
            layers = comparison.check_layers(patterns, example)
    return replace(comparison, feature_layers=layers)


def make_trainer(
    comparison: Comparison,
    images: TrainingData,
    settings: TrainingSettings,
    weights: WorkingWeights,
    device: torch.device,
    rank: int,
    ranks: int,
    validate: Callable[[nn.Module], float] | None,
) -> Trainer:
    """The trainer of a comparison's model, with the defaults that depend on the data and the network.

    Args:
        comparison: with its layers.
        images: the training data.
        settings: checked.
        weights: of the model.
        device: where the model is.
        rank: of this process.
        ranks: number of processes that train together; they get the weights of rank 0.
        validate: gives a score of the model; None for none.
    """
    model = comparison.model
    frozen = settings.freeze_bn
    if frozen is None:
        frozen = images.images is not None and images.images < _IMAGES_FOR_BATCH_STATISTICS
    has_statistics = any(
        isinstance(module, _BatchNorm) and module.running_mean is not None for module in model.modules()
    )
    batch_statistics = has_statistics and not frozen
    if settings.steps is not None:
        steps = settings.steps
    elif settings.epochs is not None:
        steps = math.ceil(settings.epochs * images.per_epoch)
    else:
        steps = max(_STEPS, _EPOCHS * images.per_epoch)
    if ranks > 1:
        steps = largest(steps)
        broadcast_tensors(weights.tensors)
    every = settings.measure_every or max(images.per_epoch, math.ceil(steps / 20))
    return Trainer(
        comparison,
        images,
        settings,
        make_optimizer(model, settings, batch_statistics=batch_statistics),
        weights,
        steps,
        largest(every) if ranks > 1 else every,
        batch_statistics,
        device,
        rank,
        ranks,
        validate,
    )


def connect_checkpoint(trainer: Trainer, path: Path, other: dict[str, Any]) -> None:
    """Resume a trainer from a file if it is there, and let rank 0 write it.

    Args:
        trainer: at its start.
        path: of the file.
        other: settings that the trainer does not have.

    Raises:
        ValueError: the file is damaged or belongs to another training.
    """
    comparison, weights = trainer.comparison, trainer.weights
    names = zip(weights.names, weights.tensors, strict=True)
    settings = trainer.settings.described() | other
    settings |= {
        "steps": trainer.steps,
        "batch_statistics": trainer.batch_statistics,
        "feature_layers": list(comparison.feature_layers),
        "feature_weight": comparison.feature_weight,
        "number of images": trainer.data.images,
        "number of ranks": trainer.ranks,
        "shapes": {name: list(tensor.shape) for name, tensor in names},
    }
    with raise_on_all_ranks(trainer.ranks > 1):
        state = load_state(path, settings)
    if state is not None:
        trainer.resume(state)
    if trainer.rank == 0:
        trainer.save = partial(save_state, path, settings)
