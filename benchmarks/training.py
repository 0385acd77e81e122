"""A plain, repeatable loop that trains and one that measures accuracy."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from .augmentation import crop_and_flip
from .errors import BenchmarkError

__all__ = ["Recipe", "TrainingDivergedError", "evaluate", "learning_rate_at", "train"]


class TrainingDivergedError(BenchmarkError):
    """The loss stopped being a finite number."""


class Recipe(BaseModel):
    """How a network is trained: SGD with Nesterov momentum and a schedule over all steps.

    Attributes:
        epochs: passes over the training images; 0 means no training.
        learning_rate: at the first step.
        schedule: ``"cosine"`` falls to 0 along half a cosine; ``"step"`` divides by 10 at half and again at
            three quarters of the steps.
        batch_size: images per step; a last, smaller batch is used too.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty on all parameters.
        augmentation: ``"crop-flip"`` moves and mirrors every image at random, see
            :func:`~foad_plugins.benchmarks.augmentation.crop_and_flip`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=0)
    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "step"] = "cosine"
    batch_size: int = Field(default=64, ge=2)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    augmentation: Literal["none", "crop-flip"] = "none"


def learning_rate_at(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of step ``step``, counted from 0, of ``steps`` in all."""
    progress = step / steps
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    return recipe.learning_rate * (1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01)


def train(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    *,
    seed: int,
    description: str = "training",
    quiet: bool = False,
) -> None:
    """Train a classifier in place with cross-entropy; leaves it in eval mode.

    Args:
        model: maps images (N, C, H, W) to logits (N, classes); on the same device as the images.
        images: (N, C, H, W).
        labels: (N,), integer classes.
        recipe: how long and how fast.
        seed: of the order of the images and of their augmentation, which depend on nothing else.
        description: what the progress bar says.
        quiet: no progress bar. There is none either where the output is not a terminal.

    Raises:
        TrainingDivergedError: if the loss of an epoch is not finite.
    """
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    batches = _batches(len(images), recipe.batch_size)
    steps = recipe.epochs * len(batches)
    step = 0
    model.train()
    with tqdm(total=recipe.epochs, desc=description, unit="epoch", leave=False, disable=quiet or None) as bar:
        for _ in range(recipe.epochs):
            total = torch.zeros((), device=images.device)
            shuffled = torch.randperm(len(images), generator=random).to(images.device)
            for start, stop in batches:
                chosen = shuffled[start:stop]
                batch = images[chosen]
                if recipe.augmentation == "crop-flip":
                    batch = crop_and_flip(batch, random)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate_at(recipe, step, steps)
                optimizer.zero_grad(set_to_none=True)
                loss = F.cross_entropy(model(batch), labels[chosen])
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(chosen)
                step += 1
            mean_loss = total.item() / len(images)
            if not math.isfinite(mean_loss):
                raise TrainingDivergedError(f"{description}: the loss became {mean_loss} at step {step} of {steps}")
            bar.set_postfix(loss=f"{mean_loss:.3f}")
            bar.update()
    optimizer.zero_grad(set_to_none=True)
    model.eval()


@torch.no_grad()
def evaluate(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, batch_size: int = 512) -> float:
    """The fraction of images classified right, in [0, 1]; measured in eval mode, in which the model is left.

    Raises:
        ValueError: if there are no images.
    """
    if len(images) == 0:
        raise ValueError("images: accuracy needs at least one image, got none")
    model.eval()
    right = 0
    for start in range(0, len(images), batch_size):
        logits = model(images[start : start + batch_size])
        right += int((logits.argmax(1) == labels[start : start + batch_size]).sum())
    return right / len(images)


def _batches(count: int, size: int) -> list[tuple[int, int]]:
    """Cut ``range(count)`` into runs of ``size``; a lone last image joins the run before, as BN needs two."""
    edges = [*range(0, count, size), count]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return list(pairwise(edges))
