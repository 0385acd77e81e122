"""A plain, repeatable loop that trains, on Lightning Fabric, and one that measures accuracy."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from .datasets.source import Batch, ImageSource
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
        batch_size: images per step; a last, smaller batch is used too.
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
    data: ImageSource,
    recipe: Recipe,
    *,
    seed: int,
    hardware: Hardware | None = None,
    measure: bool = False,
    limit_steps: int | None = None,
    description: str = "training",
    quiet: bool = False,
) -> list[Epoch]:
    """Train a classifier in place with cross-entropy; leaves it in eval mode.

    Args:
        model: maps images (N, C, H, W) to logits (N, classes).
        data: trained on its training part alone.
        recipe: how long and how fast.
        seed: of the order of the images and of their augmentation, which depend on nothing else.
        hardware: devices and precision; the CPU in single precision if None. With several devices each takes a share of
            every batch, and statistics of batch normalisation are those of the first.
        measure: measure accuracy on the test part after every epoch, and return the epochs.
        limit_steps: at most so many steps an epoch.
        description: what the progress bar says.
        quiet: no progress bar. There is none either where the output is not a terminal.

    Returns:
        The epochs if they are measured, else none.

    Raises:
        TrainingDivergedError: if the loss of an epoch is not finite.
    """
    fabric = (hardware or Hardware()).fabric()
    job = _Training(model, data, recipe, seed, measure, limit_steps, description, quiet)
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
    data: ImageSource
    recipe: Recipe
    seed: int
    measure: bool
    limit_steps: int | None
    description: str
    quiet: bool

    def __call__(self, fabric: Fabric) -> tuple[list[Epoch], dict[str, Tensor]]:
        """Train; the trained tensors matter only where this is not the caller's process."""
        recipe, model, data = self.recipe, self.model, self.data.to(fabric.device)
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)
        random = torch.Generator().manual_seed(self.seed)
        wrapped, optimizer = fabric.setup(model, _optimizer(model, recipe))
        per_epoch = math.ceil(data.train_count / recipe.batch_size)
        schedule = _Schedule(recipe, recipe.epochs * min(per_epoch, self.limit_steps or per_epoch))
        epochs: list[Epoch] = []
        hidden = self.quiet or fabric.global_rank > 0
        with tqdm(total=recipe.epochs, desc=self.description, unit="epoch", leave=False, disable=hidden or None) as bar:
            for _ in range(recipe.epochs):
                wrapped.train()
                start = time.perf_counter()
                batches = data.train_batches(recipe.batch_size, random, augment=recipe.augmentation == "crop-flip")
                mean_loss = _epoch(fabric, wrapped, optimizer, schedule, islice(batches, self.limit_steps))
                seconds = time.perf_counter() - start
                if not math.isfinite(mean_loss):
                    where = f"at step {schedule.step} of {schedule.steps}"
                    raise TrainingDivergedError(f"{self.description}: the loss became {mean_loss} {where}")
                if self.measure:
                    accuracy = evaluate(model, data)
                    epochs.append(Epoch(train_loss=mean_loss, test_accuracy=accuracy, seconds=seconds))
                bar.set_postfix(loss=f"{mean_loss:.3f}")
                bar.update()
        optimizer.zero_grad(set_to_none=True)
        model.to(memory_format=torch.contiguous_format)
        model.eval()
        return epochs, {name: tensor.cpu() for name, tensor in model.state_dict().items()}


@dataclass(eq=False)
class _Schedule:
    """Sets the learning rate of one step after the other."""

    recipe: Recipe
    steps: int
    step: int = 0

    def apply(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the rate of the next step."""
        rate = learning_rate_at(self.recipe, self.step, self.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        self.step += 1


def _epoch(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: _Schedule,
    batches: Iterable[Batch],
) -> float:
    """One epoch; its mean loss, for which the device is waited for only once."""
    total, count = torch.zeros((), device=fabric.device), 0
    mine = slice(fabric.global_rank, None, fabric.world_size)
    for images, labels in batches:
        schedule.apply(optimizer)
        if len(labels) < 2 * fabric.world_size:
            # Batch normalisation needs two images in every process.
            continue
        if schedule.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images[mine]), labels[mine])
        fabric.backward(loss)
        optimizer.step()
        total += loss.detach() * len(labels)
        count += len(labels)
    mean: Tensor = fabric.all_reduce(total / max(count, 1), reduce_op="mean")
    return mean.item()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )


@torch.no_grad()
def evaluate(model: nn.Module, data: ImageSource, *, batch_size: int = 512) -> float:
    """The fraction of test images classified right, in [0, 1]; measured in eval mode, in which the model is left."""
    model.eval()
    right = torch.zeros((), dtype=torch.int64, device=data.device)
    for images, labels in data.test_batches(batch_size):
        right += (model(images).argmax(1) == labels).sum()
    return right.item() / data.test_count
