"""How many probes a group widths by sensitivity need, on the authors' ResNet-56 with weight compensation alone."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from ... import prune, sensitivity
from ..datasets import ImageSource
from ..training.train import evaluate
from .common import arguments, resnet56_cifar10, write_page

_DRAWS = 3
_IMAGES = 256
_SHARES = (0.5, 0.35, 0.25)
_PROBES: dict[str, str | Sequence[float]] = {
    "one, at 1/2": (0.5,),
    "one, at 3/4": (0.75,),
    "two, at 1/2 and 7/8": (0.5, 0.875),
    "seven": "grid",
}


def main() -> None:
    """Measure and write docs/measurements/probes.md."""
    options = arguments(main.__doc__ or "", "probes.md").parse_args()
    torch.set_num_threads(1)
    base, data = resnet56_cifar10(options.data_root, _DRAWS * _IMAGES)
    found: dict[str, list[list[float]]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    for calibration in data.train_images.split(_IMAGES):
        found["the same share everywhere"].append(accuracies(base, calibration, data, None))
        for name, probes in _PROBES.items():
            started = time.perf_counter()
            found[name].append(accuracies(base, calibration, data, probes))
            seconds[name].append(time.perf_counter() - started)
    rows = [
        (name, *(f"{mean(column):.1f}" for column in zip(*draws, strict=True)), _seconds(seconds.get(name)))
        for name, draws in found.items()
    ]
    notes = (
        "Accuracy in % on 1,017 lossless CIFAR-10 test images (one standard error of 93 % is 0.8 points) of the FOAD "
        f"authors' ResNet-56, {100 * evaluate(base, data):.2f} % unpruned, after pruning the first convolution of each "
        "block to a share of the FLOPs, compensated by least squares, BN adjusted, without training. Probes are the "
        "shares of a group's channels at which the change of the output is measured; the rest of each curve follows "
        f"from the local error. Mean over {_DRAWS} sets of {_IMAGES} calibration images; seconds of measuring the "
        "curves once and pruning to all three shares."
    )
    heads = ("probes of each group", *(f"{100 * share:.0f} % of the FLOPs" for share in _SHARES), "seconds")
    command = "python -m foad_plugins.benchmarks.studies.probes --data-root DIR"
    write_page(options.out, "Probes of the sensitivity", command, notes, heads, rows)


def accuracies(
    base: nn.Module,
    images: Tensor,
    data: ImageSource,
    probes: str | Sequence[float] | None,
    shares: Sequence[float] = _SHARES,
) -> list[float]:
    """Test accuracy in % of copies of a network at some shares of its FLOPs.

    Args:
        base: unchanged; the first convolutions of its blocks are pruned.
        images: calibration images.
        data: for evaluation.
        probes: as for :func:`~foad_plugins.sensitivity`; None for the same share of every group.
        shares: of the FLOPs.
    """
    fixed = [
        name
        for name, layer in base.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and not name.endswith("baseNet.0")
    ]
    curves = None if probes is None else sensitivity(base, images, ignored_layers=fixed, probes=probes)
    found = []
    plain: dict[str, Any] = {"compensate": "least_squares", "ignored_layers": fixed, "measure_latency": False}
    for share in shares:
        model = copy.deepcopy(base)
        if curves is None:
            prune(model, images, flops=share, ranking="local", **plain)
        else:
            widths = curves.widths(flops=share)
            # A hair less, so that rounding removes no channel more.
            ratios: dict[nn.Module | str, float] = {one.name: max(0.0, one.ratio - 1e-9) for one in widths.groups}
            prune(model, images, pruning_ratio_dict=ratios, **plain)
        found.append(100 * evaluate(model, data))
    return found


def _seconds(values: Sequence[float] | None) -> str:
    return "" if values is None else f"{mean(values):.0f}"


if __name__ == "__main__":
    main()
