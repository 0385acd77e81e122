"""FOADPruner under NNI's AGP schedule on real digits: masked, after speedup, fine-tuned."""

from __future__ import annotations

import argparse
import copy
import warnings
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from ... import FOADPruner, count_flops, count_params
from ..datasets import ImageData, load_digits
from ..models.vgg_digits import DigitsVGG
from ..suites.loader import find_suite
from ..training.train import evaluate, train
from .common import write_page

ROUNDS = 3
_STEPS = 33


def main() -> None:
    """Measure and write docs/measurements/nni-agp.md."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/nni-agp.md"), help="Markdown page to write")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_digits()
    found = [one(data, seed) for seed in range(options.seeds)]
    names = ("base", "masked", "after speedup", "fine-tuned")
    rows = [
        (name, f"{mean(v):.2f} ± {stdev(v):.2f}")
        for name, v in zip(names, zip(*[a for a, _ in found], strict=True), strict=True)
    ]
    params, flops = zip(*[sizes for _, sizes in found], strict=True)
    notes = (
        "The quickstart's network and data; `FOADPruner` under `AGPPruner` to `sparse_ratio` 0.5 on all convolutions "
        f"in {ROUNDS} rounds of {_STEPS} training steps (learning rate 0.01), then NNI's `ModelSpeedup` and the "
        "quickstart's fine-tuning. Test accuracy in %, mean and standard deviation over "
        f"{options.seeds} seeds. Of parameters {100 * mean(params):.1f} % remain, of FLOPs {100 * mean(flops):.1f} %."
    )
    write_page(
        options.out,
        "NNI: AGP on digits",
        "python -m foad_plugins.benchmarks.studies.nni_agp",
        notes,
        ("model", "accuracy"),
        rows,
    )


def one(data: ImageData, seed: int) -> tuple[tuple[float, ...], tuple[float, float]]:
    """Accuracies in % of the base, masked, smaller and fine-tuned model, and shares of parameters and FLOPs left."""
    from nni.compression.pruning import AGPPruner
    from nni.compression.speedup import ModelSpeedup

    conditions = find_suite("quickstart").conditions
    assert conditions.base_recipe is not None
    torch.manual_seed(seed)
    model = DigitsVGG()
    train(model, data, conditions.base_recipe, seed=seed, quiet=True)
    accuracies = [_percent(model, data)]
    params, flops = count_params(model), count_flops(model, data.example)

    images = data.calibration(conditions.calibration_images, seed=seed)[0]
    config = [{"op_types": ["Conv2d"], "sparse_ratio": 0.5}]
    pruner = FOADPruner(model, config, _evaluator(model, data, seed), data=images)
    schedule = AGPPruner(pruner, interval_steps=_STEPS, total_times=ROUNDS)
    _, masks = schedule.compress(max_steps=_STEPS * ROUNDS, max_epochs=None)
    accuracies.append(_percent(model, data))
    schedule.unwrap_model()
    model = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ModelSpeedup(model, images, masks).speedup_model()
    accuracies.append(_percent(model, data))
    train(model, data, conditions.finetune_recipe, seed=seed, quiet=True)
    accuracies.append(_percent(model, data))
    return tuple(accuracies), (count_params(model) / params, count_flops(model, data.example) / flops)


def _evaluator(model: nn.Module, data: ImageData, seed: int) -> Any:
    import nni
    from nni.compression.utils import TorchEvaluator

    def step(batch: tuple[Tensor, Tensor], network: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(network(batch[0]), batch[1])

    def train_steps(
        network: nn.Module, optimizer: Any, training_step: Any, lr_scheduler: Any, max_steps: int, max_epochs: Any
    ) -> None:
        network.train()
        draw = torch.Generator().manual_seed(seed)
        for _ in range(max_steps):
            chosen = torch.randint(len(data.train_images), (128,), generator=draw)
            optimizer.zero_grad()
            training_step((data.train_images[chosen], data.train_labels[chosen]), network).backward()
            optimizer.step()

    optimizer = nni.trace(torch.optim.SGD)(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-3)
    return TorchEvaluator(training_func=train_steps, optimizers=optimizer, training_step=step)


def _percent(model: nn.Module, data: ImageData) -> float:
    return 100 * evaluate(model, data)


if __name__ == "__main__":
    main()
