"""A plain, repeatable loop that trains, on Lightning Fabric, and one that measures accuracy."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from ..batches import model_device
from .datasets.source import Batch, ImageSource, batch_edges
from .errors import BenchmarkError
from .hardware import Hardware
from .recipe import Epoch, Recipe, learning_rate_at
from .several import in_processes

__all__ = ["TrainingDivergedError", "evaluate", "train"]


class TrainingDivergedError(BenchmarkError):
    """The loss stopped being a finite number."""


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
    """Train a classifier in place with cross-entropy; leaves it in eval mode, on the device where it was.

    Args:
        model: maps images (N, C, H, W) to logits (N, classes).
        data: trained on its training part alone.
        recipe: how long and how fast.
        seed: of the order of the images and of their augmentation, which depend on nothing else.
        hardware: devices and precision; the CPU in single precision if None. With several devices each takes a share of
            every batch, as if one had taken it whole; only statistics of batch normalisation are those of the first
            one's share.
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
    work = _Training(data, recipe, seed, measure, limit_steps, description, quiet)
    device = model_device(model)
    try:
        if fabric.world_size == 1:
            return work(fabric, model)
        work = replace(work, data=data.to("cpu"))
        return in_processes(fabric, work, model, recipe.epochs, TrainingDivergedError)
    finally:
        model.to(device).eval()


@dataclass(frozen=True, eq=False)
class _Training:
    """The work of one process of a training."""

    data: ImageSource
    recipe: Recipe
    seed: int
    measure: bool
    limit_steps: int | None
    description: str
    quiet: bool

    def __call__(self, fabric: Fabric, model: nn.Module) -> list[Epoch]:
        """Train a model in place; the epochs, if they are measured, from the first process alone."""
        recipe, data = self.recipe, self.data.to(fabric.device)
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)
        random = torch.Generator().manual_seed(self.seed)
        wrapped, optimizer = fabric.setup(model, _optimizer(model, recipe))
        per_epoch = len(batch_edges(data.train_count, recipe.batch_size))
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
                if self.measure and fabric.is_global_zero:
                    accuracy = evaluate(model, data)
                    epochs.append(Epoch(train_loss=mean_loss, test_accuracy=accuracy, seconds=seconds))
                bar.set_postfix(loss=f"{mean_loss:.3f}")
                bar.update()
        optimizer.zero_grad(set_to_none=True)
        model.to(memory_format=torch.contiguous_format)
        return epochs


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
    processes, mine = fabric.world_size, slice(fabric.global_rank, None, fabric.world_size)
    for all_images, all_labels in batches:
        schedule.apply(optimizer)
        if len(all_labels) < 2 * processes:
            # Batch normalisation needs two images in every process.
            continue
        images, labels = all_images[mine], all_labels[mine]
        if schedule.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images), labels)
        if processes > 1:
            # Gradients are averaged over the processes, whose shares may differ by one image.
            loss = loss * (len(labels) * processes / len(all_labels))
        fabric.backward(loss)
        optimizer.step()
        total += loss.detach() * len(all_labels)
        count += len(all_labels)
    mean: Any = fabric.all_reduce(total / max(count, 1), reduce_op="mean")
    return float(mean)


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
    """The fraction of test images classified right, in [0, 1].

    Args:
        model: put into eval mode, in which it is left.
        data: on any device; batches go to the model's.
        batch_size: images in a call.
    """
    model.eval()
    device = model_device(model) or data.device
    right = torch.zeros((), dtype=torch.int64, device=device)
    for images, labels in data.test_batches(batch_size):
        right += (model(images.to(device)).argmax(1) == labels.to(device)).sum()
    return right.item() / data.test_count
