"""A plain, reusable loop that trains, on Lightning Fabric, and one that measures accuracy."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from tqdm import tqdm

from ...calibration.data import model_device
from ...recovery.training.augmentation import color_jitter, flip
from ..datasets.source import Batch, ImageSource, batch_edges
from ..errors import BenchmarkError, SettingsError
from ..files import hash_json, hash_tensors
from .cuda_graphs import GraphedObjective
from .hardware import Hardware
from .multi_device import in_processes
from .objectives import Objective, objective_for
from .recipe import Epoch, Recipe, learning_rate_at
from .resume import TrainingState

_SAVE_EVERY = 10.0
"""Seconds between two states of a training that are kept: what a short one loses is done again sooner than written."""


class TrainingDivergedError(BenchmarkError):
    """The loss stopped being a finite number."""


def train(
    model: nn.Module,
    data: ImageSource,
    recipe: Recipe,
    *,
    seed: int,
    hardware: Hardware | None = None,
    teacher: nn.Module | None = None,
    measure: bool = False,
    limit_steps: int | None = None,
    state: Path | None = None,
    description: str = "training",
    quiet: bool = False,
) -> list[Epoch]:
    """Train a network in place; leaves it in eval mode, on the device where it was.

    Args:
        model: maps images (N, C, H, W) to logits (N, classes), or to what else the recipe's objective asks for.
        data: trained on its training part alone.
        recipe: how long and how fast.
        seed: of the order of the images and of their augmentation, which depend on nothing else.
        hardware: devices and precision; the CPU in single precision if None. With several devices each takes a share of
            every batch, as if one had taken it whole; only statistics of batch normalization are those of the first
            one's share.
        teacher: whose outputs are distilled, if the recipe does; unchanged.
        measure: measure accuracy on the test part as often as the recipe asks for, and return the epochs.
        limit_steps: largest number of steps of an epoch.
        state: a file that keeps the training's state after an epoch, no more often than every ten seconds, from which
            an interrupted training of the same key is resumed. It is not deleted.
        description: text of the progress bar.
        quiet: no progress bar. There is none either where the output is not a terminal.

    Returns:
        The epochs if they are measured, else none.

    Raises:
        TrainingDivergedError: if the loss of an epoch is not finite.
        SettingsError: if network or data do not fit the recipe's objective, or there is no parameter to train.
        MissingTeacherError: if the recipe distills, and there is no teacher.
    """
    hardware = hardware or Hardware()
    fabric = hardware.fabric()
    work = _Training(data, recipe, hardware, seed, teacher, measure, limit_steps, state, description, quiet)
    device = model_device(model)
    try:
        if fabric.world_size == 1:
            return work(fabric, model)
        # What is passed to other processes is copied there.
        apart = None if teacher is None else copy.deepcopy(teacher).cpu()
        work = replace(work, data=data.to("cpu"), teacher=apart)
        return in_processes(fabric, work, model, recipe.epochs, TrainingDivergedError)
    finally:
        model.to(device).eval()


@dataclass(frozen=True, eq=False)
class _Training:
    """The work of one process of a training."""

    data: ImageSource
    recipe: Recipe
    hardware: Hardware
    seed: int
    teacher: nn.Module | None
    measure: bool
    limit_steps: int | None
    state: Path | None
    description: str
    quiet: bool

    def __call__(self, fabric: Fabric, model: nn.Module) -> list[Epoch]:
        """Train a model in place; the epochs, if they are measured, from the first process alone."""
        recipe, data = self.recipe, self.data.to(fabric.device)
        objective = self._objective(model.to(fabric.device), data)
        random = torch.Generator().manual_seed(self.seed)
        optimizer = _optimizer(objective, recipe)
        wrapped, fabric_optimizer = fabric.setup(self._prepared(objective, data), optimizer)
        per_epoch = len(batch_edges(data.train_count, recipe.batch_size))
        schedule = _Schedule(recipe, recipe.epochs * min(per_epoch, self.limit_steps or per_epoch))
        kept, key = TrainingState(objective, optimizer, random), ""
        over, epochs, saved = 0, list[Epoch](), time.monotonic()
        if self.state is not None:
            key = self._key(objective)
            over, schedule.step, epochs = kept.load(self.state, key)
        hidden = self.quiet or fabric.global_rank > 0
        with tqdm(
            total=recipe.epochs,
            initial=over,
            desc=self.description,
            unit="epoch",
            leave=False,
            disable=hidden or None,
        ) as bar:
            for epoch in range(over + 1, recipe.epochs + 1):
                wrapped.train()
                start = time.perf_counter()
                batches = islice(_batches(data, recipe, random), self.limit_steps)
                mean_loss = _epoch(fabric, wrapped, fabric_optimizer, schedule, batches)
                seconds = time.perf_counter() - start
                if not math.isfinite(mean_loss):
                    where = f"at step {schedule.step} of {schedule.steps}"
                    raise TrainingDivergedError(f"{self.description}: the loss became {mean_loss} {where}")
                if fabric.is_global_zero:
                    if self.measure:
                        accuracy = evaluate(model, data) if recipe.is_measured(epoch) else None
                        epochs.append(Epoch(train_loss=mean_loss, test_accuracy=accuracy, seconds=seconds))
                    if self.state is not None and time.monotonic() - saved >= _SAVE_EVERY:
                        saved = time.monotonic()
                        kept.save(self.state, key, epoch, schedule.step, epochs)
                bar.set_postfix(loss=f"{mean_loss:.3f}")
                bar.update()
        optimizer.zero_grad(set_to_none=True)
        model.to(memory_format=torch.contiguous_format)
        return epochs

    def _objective(self, model: nn.Module, data: ImageSource) -> Objective:
        """What is trained, in the memory format of the recipe; the teacher is a copy, as formats change in place."""
        teacher = None if self.teacher is None else copy.deepcopy(self.teacher).to(data.device)
        if self.recipe.channels_last:
            for network in (model, teacher):
                if network is not None:
                    network.to(memory_format=torch.channels_last)
        return objective_for(
            self.recipe, model, classes=data.num_classes, example=data.example, teacher=teacher, seed=self.seed
        )

    def _prepared(self, objective: Objective, data: ImageSource) -> nn.Module:
        """The objective as it is called."""
        if not self.hardware.cuda_graphs:
            return objective
        edges = batch_edges(data.train_count, self.recipe.batch_size)
        images, labels = data.calibration(edges[0][1] - edges[0][0], seed=self.seed)
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        # Kernels are chosen by trying them out: what is captured is run many thousand times.
        cudnn = torch.backends.cudnn
        kept = {"deterministic": cudnn.deterministic, "allow_tf32": cudnn.allow_tf32}
        with cudnn.flags(enabled=cudnn.enabled, benchmark=True, **kept):
            return GraphedObjective(objective.train(), images, labels, self.hardware.precision)

    def _key(self, objective: Objective) -> str:
        """Hash of all that decides the training, so that no other one resumes from its state."""
        teacher = None if self.teacher is None else hash_tensors(self.teacher.state_dict())
        start = hash_tensors(objective.state_dict())
        recipe = self.recipe.model_dump(mode="json", exclude_defaults=True)
        return hash_json([recipe, self.seed, self.limit_steps, self.measure, self.data.hash, teacher, start])


def _batches(data: ImageSource, recipe: Recipe, random: torch.Generator) -> Iterator[Batch]:
    """One epoch, with the recipe's augmentation."""
    augmentation = recipe.augmentation
    for images, labels in data.train_batches(recipe.batch_size, random, augment=augmentation.startswith("crop-flip")):
        if augmentation == "flip":
            images = flip(images, random)
        elif augmentation == "crop-flip-color":
            images = color_jitter(images, random)
        yield images, labels


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
            # Batch normalization needs two images in every process.
            continue
        images, labels = all_images[mine], all_labels[mine]
        if schedule.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        loss: torch.Tensor = model(images, labels)
        if processes > 1:
            # Gradients are averaged over the processes, whose shares may differ by one image.
            loss = loss * (len(labels) * processes / len(all_labels))
        fabric.backward(loss)
        optimizer.step()
        total += loss.detach() * len(all_labels)
        count += len(all_labels)
    mean: Any = fabric.all_reduce(total / max(count, 1), reduce_op="mean")
    return float(mean)


def _optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise SettingsError("the network has no parameter that can be trained")
    groups = list(_parameter_groups(module, recipe))
    # On a GPU one kernel for all parameters.
    fused = next(module.parameters()).is_cuda or None
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
        fused=fused,
    )


def _parameter_groups(module: nn.Module, recipe: Recipe) -> Iterator[dict[str, object]]:
    """Parameters by weight decay, those of the recipe's own first."""
    named = {name.removeprefix("model."): parameter for name, parameter in module.named_parameters()}
    rest = dict(named)
    for pattern, decay in recipe.weight_decays.items():
        chosen = [name for name in rest if fnmatchcase(name, pattern)]
        if not any(fnmatchcase(name, pattern) for name in named):
            raise SettingsError(f"weight_decays: {pattern!r} fits no parameter")
        if chosen:
            yield {"params": [rest.pop(name) for name in chosen], "weight_decay": decay}
    yield {"params": list(rest.values())}


def evaluate(model: nn.Module, data: ImageSource, *, batch_size: int = 512) -> float:
    """Accuracy on the test part, in [0, 1]: of classification, or of what else the data is for.

    Args:
        model: put into eval mode, in which it is left.
        data: on any device; batches are copied to the model's.
        batch_size: images in a call.
    """
    return data.evaluate(model, batch_size=batch_size).accuracy
