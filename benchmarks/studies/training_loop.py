"""What the harness's training loop costs beside a bare PyTorch loop that does the same work."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from threading import Semaphore

import torch
from scipy.stats import binom
from torch import nn
from torch.nn import functional as F

from ... import prune
from ..datasets import ImageData, load_digits
from ..models import DigitsVGG, FOADResNet
from ..suites.loader import find_suite
from ..training.recipe import Recipe, learning_rate_at
from ..training.train import train
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
    """Measure and write docs/measurements/training-loop.md."""
    parser = arguments(main.__doc__ or "", "training-loop.md")
    parser.add_argument("--rounds", type=int, default=15, help="times that both loops are timed")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    torch.set_num_threads(1)
    rows = []
    for case in _cases(options.data_root):
        cost = Cost.of(list(rounds_of(case, options.rounds)))
        low, high = (f"{100 * (edge - 1):+.1f}" for edge in cost.interval)
        rows.append(
            (
                case.name,
                case.recipe.batch_size,
                f"{100 * (cost.step - 1):+.1f} % ({low} to {high})",
                f"{1e3 * cost.once:+.0f} ms",
                case.recipe.epochs * case.steps,
                f"{100 * (cost.whole - 1):+.1f} %",
            )
        )
    notes = (
        "What `train` costs beside a bare PyTorch loop (forward, cross-entropy, backward, SGD step, learning rate) on "
        "the same network, the same batches and the same augmentation, in time on the wall, in one process on one "
        "thread of a CPU. The two train by turns, a step of the one and then the same step of the other, because the "
        "speed of a machine that others use changes within a second; who goes first changes in each of "
        f"{options.rounds} rounds, and after every round both hold the same weights to the last bit. *A step* is the "
        "median of the ratios of such pairs of steps, with its 95 % interval from order statistics. *Once* is what "
        "comes once a training: the median over the rounds of what setting up (the optimizer, Lightning Fabric) and "
        "ending take more than in the bare loop. *Whole* holds both, for a training of so many steps. The first "
        "network is the FOAD authors' ResNet-56 at half its FLOPs, trained on CIFAR-10 as the suite "
        "`cifar10-resnet56` does, with far fewer steps; the second is the whole fine-tuning of the quickstart, whose "
        "steps are so short that any loop shows."
    )
    heads = ("network", "images a step", "a step", "once", "steps", "whole")
    command = "python -m foad_plugins.benchmarks.studies.training_loop --data-root DIR"
    write_page(options.out, "Training loop", command, notes, heads, rows)


@dataclass(frozen=True)
class Round:
    """Seconds that the two loops took in one round, each cut at its calls of the network.

    The first piece ends at the first call, the last one begins at the last call.
    """

    harness: list[float]
    bare: list[float]


@dataclass(frozen=True)
class Cost:
    """What the harness's loop costs.

    Attributes:
        step: median ratio of a step of the harness to the same step of the bare loop.
        interval: 95 % interval of that median.
        once: seconds a training beyond what its steps cost more.
        whole: ratio of a whole training, as long as a round.
    """

    step: float
    interval: tuple[float, float]
    once: float
    whole: float

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> Cost:
        """From rounds of at least two steps."""
        pairs = [pair for found in rounds for pair in zip(found.harness[1:-1], found.bare[1:-1], strict=True)]
        ratios = sorted(harness / bare for harness, bare in pairs)
        step = median(ratios)
        # Ranks between which the median of so many independent draws lies in 95 of 100 cases.
        low, high = binom.ppf([0.025, 0.975], len(ratios), 0.5).astype(int)
        interval = ratios[max(low - 1, 0)], ratios[min(high, len(ratios) - 1)]
        ends = [found.harness[0] + found.harness[-1] - found.bare[0] - step * found.bare[-1] for found in rounds]
        once, bare_step = median(ends), median(bare for _, bare in pairs)
        return cls(step, interval, once, step + once / (bare_step * (len(rounds[0].bare) - 1)))


def rounds_of(case: Case, count: int) -> Iterator[Round]:
    """Train with both loops, once more than the rounds that are given: the first one warms up.

    Raises:
        RuntimeError: if the two loops do not end at the same weights.
    """

    def harness(model: nn.Module) -> None:
        train(model, case.data, case.recipe, seed=0, limit_steps=case.steps, quiet=True)

    def bare(model: nn.Module) -> None:
        bare_loop(model, case.data, case.recipe, seed=0, steps=case.steps)

    for number in range(count + 1):
        models = {loop: copy.deepcopy(case.model) for loop in (harness, bare)}
        order = (harness, bare) if number % 2 else (bare, harness)
        pieces = dict(zip(order, by_turns([(loop, models[loop]) for loop in order]), strict=True))
        first, second = (models[loop].state_dict() for loop in (harness, bare))
        if not all(torch.equal(value, second[name]) for name, value in first.items()):
            raise RuntimeError(f"{case.name}: the two loops do not do the same")
        if number:
            yield Round(pieces[harness], pieces[bare])


def by_turns(trainings: Sequence[tuple[Callable[[nn.Module], None], nn.Module]]) -> list[list[float]]:
    """Run two trainings in two threads, of which one at a time has its turn; it ends where it calls its network.

    Args:
        trainings: two loops, each with the network that it trains.

    Returns:
        The seconds of the turns of the first and of the second.
    """
    turns = _Turns()
    with ThreadPoolExecutor(len(trainings)) as threads:
        running = [threads.submit(turns.run, number, *training) for number, training in enumerate(trainings)]
        return [work.result() for work in running]


class _Turns:
    """Whose turn it is."""

    def __init__(self) -> None:
        self._gates = Semaphore(1), Semaphore(0)
        self._ended = [False, False]

    def run(self, number: int, loop: Callable[[nn.Module], None], model: nn.Module) -> list[float]:
        """Run one of the two loops; the seconds of its turns."""
        seconds, start = list[float](), 0.0

        def pass_on(*_: object) -> None:
            nonlocal start
            seconds.append(time.perf_counter() - start)
            self._gates[1 - number].release()
            if not self._ended[1 - number]:
                self._gates[number].acquire()
            start = time.perf_counter()

        self._gates[number].acquire()
        start = time.perf_counter()
        hook = model.register_forward_pre_hook(pass_on)
        try:
            loop(model)
        finally:
            seconds.append(time.perf_counter() - start)
            hook.remove()
            self._ended[number] = True
            self._gates[1 - number].release()
        return seconds


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


if __name__ == "__main__":
    main()
