"""What the harness's training loop costs beside a bare PyTorch loop that does the same work."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import nn
from torch.nn import functional as F

from ... import prune
from ..datasets import ImageData, load_digits
from ..models import DigitsVGG, FOADResNet
from ..recipe import Recipe, learning_rate_at
from ..suite_file import find_suite
from ..training import train
from .common import arguments, cifar_images, load_weights, write_page


@dataclass(frozen=True)
class Case:
    """One network on its data: its name, how it is trained, and how many steps an epoch takes at most."""

    name: str
    model: nn.Module
    data: ImageData
    recipe: Recipe
    steps: int


def main() -> None:
    """Measure and write docs/training-loop.md."""
    parser = arguments(main.__doc__ or "", "training-loop.md")
    parser.add_argument("--rounds", type=int, default=15, help="times that both loops are timed, at least 4")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for case in _cases(options.data_root):
        wall, processor = zip(*ratios(case, options.rounds), strict=True)
        rows.append(
            (case.name, case.recipe.batch_size, case.recipe.epochs * case.steps, _percent(wall), _percent(processor))
        )
    notes = (
        "Time of `train` over that of a bare PyTorch loop (forward, cross-entropy, backward, SGD step, learning rate) "
        "on the same network, the same batches and the same augmentation, in one process on one thread of a CPU. In "
        f"each of {options.rounds} rounds both train a copy of the network for the same steps, the one that goes first "
        "changing from round to round; setting up the optimizer and Lightning Fabric, which happens once a training, "
        "counts. After every round the two copies hold the same weights to the last bit. Given is the median of the "
        "rounds' ratios, and in brackets their quartiles: of the time on the wall, which other work on the machine "
        "disturbs much, and of the process's processor time, which it disturbs little. The first network is the FOAD "
        "authors' ResNet-56 at half its FLOPs, trained on CIFAR-10 as the suite `cifar10-resnet56` does; the second is "
        "the whole fine-tuning of the quickstart, whose steps are so short that any loop shows."
    )
    heads = ("network", "images a step", "steps a round", "wall", "processor")
    command = "python -m foad_plugins.benchmarks.studies.training_loop --data-root DIR"
    write_page(options.out, "Training loop", command, notes, heads, rows)


def ratios(case: Case, rounds: int) -> Iterator[tuple[float, float]]:
    """Wall-clock and processor time of ``train`` over those of the bare loop, round by round.

    Raises:
        RuntimeError: if the two loops do not end at the same weights.
    """

    def harness(model: nn.Module) -> None:
        train(model, case.data, case.recipe, seed=0, limit_steps=case.steps, quiet=True)

    def bare(model: nn.Module) -> None:
        bare_loop(model, case.data, case.recipe, seed=0, steps=case.steps)

    for number in range(rounds + 1):
        models = {loop: copy.deepcopy(case.model) for loop in (harness, bare)}
        order = (harness, bare) if number % 2 else (bare, harness)
        times = {loop: _time(loop, models[loop]) for loop in order}
        first, second = (models[loop].state_dict() for loop in (harness, bare))
        if not all(torch.equal(value, second[name]) for name, value in first.items()):
            raise RuntimeError(f"{case.name}: the two loops do not do the same")
        if number:
            yield times[harness][0] / times[bare][0], times[harness][1] / times[bare][1]


def bare_loop(model: nn.Module, data: ImageData, recipe: Recipe, *, seed: int, steps: int) -> None:
    """A training, of at most so many steps an epoch, as one would write it without a harness."""
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    random = torch.Generator().manual_seed(seed)
    model.train()
    step = 0
    for _ in range(recipe.epochs):
        batches = data.train_batches(recipe.batch_size, random, augment=recipe.augmentation == "crop-flip")
        for images, labels in islice(batches, steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(recipe, step, steps * recipe.epochs)
            if recipe.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            step += 1
    model.eval()


def _cases(root: Path) -> Iterator[Case]:
    resnet = load_weights(FOADResNet(), root, "resnet56_cifar10")
    train_part = cifar_images(root, "train", 0, 2048)
    conditions = find_suite("cifar10-resnet56").conditions
    prune(resnet, train_part[0][:128], flops=0.5, measure_latency=False)
    data = ImageData(*train_part, *cifar_images(root, "test", 0, 128))
    recipe = conditions.finetune_recipe.shortened()
    yield Case("ResNet-56 for CIFAR-10, pruned", resnet, data, recipe, 16)
    torch.manual_seed(0)
    recipe = find_suite("quickstart").conditions.finetune_recipe
    yield Case("VGG for digits", DigitsVGG(), load_digits(), recipe, 11)


def _time(loop: Callable[[nn.Module], None], model: nn.Module) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    loop(model)
    return time.perf_counter() - wall, time.process_time() - processor


def _percent(values: tuple[float, ...]) -> str:
    low, _, high = quantiles(values, n=4)
    return f"{100 * (median(values) - 1):+.1f} % ({100 * (low - 1):+.1f} to {100 * (high - 1):+.1f})"


if __name__ == "__main__":
    main()
