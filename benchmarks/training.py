"""A plain, repeatable loop that trains, on Lightning Fabric, and one that measures accuracy."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from .augmentation import crop_and_flip
from .errors import BenchmarkError
from .hardware import Hardware

__all__ = ["Epoch", "Recipe", "TrainingDivergedError", "evaluate", "learning_rate_at", "train"]


class TrainingDivergedError(BenchmarkError):
    """The loss stopped being a finite number."""


class Recipe(BaseModel):
    """How a network is trained: SGD with Nesterov momentum and a schedule over all steps.

    Attributes:
        epochs: passes over the training images; 0 means no training.
        learning_rate: at the first step.
        schedule: ``"cosine"`` falls to 0 along half a cosine; ``"step"`` divides by 10 at half and again at
            three quarters of the steps.
        batch_size: images per step. Images left over are a smaller batch, or make the last one larger where they are
            fewer than a quarter of one.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty on all parameters.
        augmentation: ``"crop-flip"`` moves and mirrors every image at random, see
            :func:`~foad_plugins.benchmarks.augmentation.crop_and_flip`.
        channels_last: train with channels last in memory, which convolutions on many devices are faster with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=0)
    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "step"] = "cosine"
    batch_size: int = Field(default=64, ge=2)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    augmentation: Literal["none", "crop-flip"] = "none"
    channels_last: bool = False


class Epoch(BaseModel):
    """One epoch of training.

    Attributes:
        train_loss: mean over the epoch's images, while it went on.
        test_accuracy: after it, in [0, 1].
        seconds: of training alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_loss: float
    test_accuracy: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0)


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
    test: tuple[torch.Tensor, torch.Tensor] | None = None,
    hardware: Hardware | None = None,
    limit_steps: int | None = None,
    description: str = "training",
    quiet: bool = False,
) -> list[Epoch]:
    """Train a classifier in place with cross-entropy; leaves it in eval mode.

    Args:
        model: maps images (N, C, H, W) to logits (N, classes).
        images: (N, C, H, W), on the model's device.
        labels: (N,), integer classes.
        recipe: how long and how fast.
        seed: of the order of the images and of their augmentation, which depend on nothing else.
        test: images and labels to measure accuracy on after every epoch; None for no measurement.
        hardware: devices and precision; the CPU in single precision if None. With several devices each takes a share of
            every batch, and statistics of batch normalisation are those of the first.
        limit_steps: at most so many steps an epoch.
        description: what the progress bar says.
        quiet: no progress bar. There is none either where the output is not a terminal.

    Returns:
        The epochs, if ``test`` is given; else none.

    Raises:
        TrainingDivergedError: if the loss of an epoch is not finite.
    """
    fabric = (hardware or Hardware()).fabric()
    job = _Training(model, images, labels, recipe, seed, test, limit_steps, description, quiet)
    if fabric.world_size == 1:
        return job(fabric)[0]
    epochs, state = fabric.launch(job)
    model.load_state_dict(state)
    model.eval()
    return epochs


@dataclass(frozen=True, eq=False)
class _Training:
    """The work of one process of a training."""

    model: nn.Module
    images: torch.Tensor
    labels: torch.Tensor
    recipe: Recipe
    seed: int
    test: tuple[torch.Tensor, torch.Tensor] | None
    limit_steps: int | None
    description: str
    quiet: bool

    def __call__(self, fabric: Fabric) -> tuple[list[Epoch], dict[str, torch.Tensor]]:
        """Train; the trained tensors matter only where this is not the caller's process."""
        recipe, model = self.recipe, self.model
        model.to(memory_format=torch.channels_last if recipe.channels_last else torch.preserve_format)
        random = torch.Generator().manual_seed(self.seed)
        wrapped, optimizer = fabric.setup(model, _optimizer(model, recipe))
        least = max(2 * fabric.world_size, recipe.batch_size // 4)
        batches = _batches(len(self.images), recipe.batch_size, least)[: self.limit_steps]
        steps = recipe.epochs * len(batches)
        epochs: list[Epoch] = []
        hidden = self.quiet or fabric.global_rank > 0
        with tqdm(
            total=recipe.epochs, desc=self.description, unit="epoch", leave=False, disable=hidden or None
        ) as bar:
            for number in range(recipe.epochs):
                wrapped.train()
                start = time.perf_counter()
                mean_loss = self._epoch(fabric, wrapped, optimizer, random, batches, number * len(batches), steps)
                seconds = time.perf_counter() - start
                if not math.isfinite(mean_loss):
                    done = (number + 1) * len(batches)
                    raise TrainingDivergedError(
                        f"{self.description}: the loss became {mean_loss} at step {done} of {steps}"
                    )
                if self.test is not None:
                    accuracy = evaluate(model, *self.test)
                    epochs.append(Epoch(train_loss=mean_loss, test_accuracy=accuracy, seconds=seconds))
                bar.set_postfix(loss=f"{mean_loss:.3f}")
                bar.update()
        optimizer.zero_grad(set_to_none=True)
        model.to(memory_format=torch.contiguous_format)
        model.eval()
        return epochs, {name: tensor.cpu() for name, tensor in model.state_dict().items()}

    def _epoch(
        self,
        fabric: Fabric,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        random: torch.Generator,
        batches: list[tuple[int, int]],
        step: int,
        steps: int,
    ) -> float:
        """One epoch, its mean loss."""
        total = torch.zeros((), device=fabric.device)
        shuffled = torch.randperm(len(self.images), generator=random).to(self.images.device)
        for start, stop in batches:
            chosen = shuffled[start:stop]
            batch = self.images[chosen]
            if self.recipe.augmentation == "crop-flip":
                # All processes draw for the whole batch: what an image becomes does not depend on their number.
                batch = crop_and_flip(batch, random)
            mine = slice(fabric.global_rank, None, fabric.world_size)
            batch, labels = batch[mine].to(fabric.device), self.labels[chosen][mine].to(fabric.device)
            if self.recipe.channels_last:
                batch = batch.contiguous(memory_format=torch.channels_last)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(self.recipe, step, steps)
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(batch), labels)
            fabric.backward(loss)
            optimizer.step()
            total += loss.detach() * (stop - start)
            step += 1
        mean: torch.Tensor = fabric.all_reduce(total, reduce_op="mean")
        return mean.item() / batches[-1][1]


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )


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


def _batches(count: int, size: int, least: int) -> list[tuple[int, int]]:
    """Cut ``range(count)`` into runs of ``size``; a last one shorter than ``least`` joins the run before.

    Batch normalisation needs two images in every process, and would remember the statistics of a handful.
    """
    edges = [*range(0, count, size), count]
    if len(edges) > 2 and edges[-1] - edges[-2] < least:
        del edges[-2]
    return list(pairwise(edges))
