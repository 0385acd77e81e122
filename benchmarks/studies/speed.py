"""How long the criterion takes beside a forward pass and beside the literal loop, on VGG-16 for CIFAR."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ... import FOADImportance, channel_similarity
from ..models.vgg_cifar import VGG16CIFAR
from .common import arguments, cifar_images, load_weights, write_page


def main() -> None:
    """Measure and write docs/speed.md; run from a checkout, whose tests/ hold the literal loop."""
    parser = arguments(main.__doc__ or "", "speed.md")
    parser.add_argument("--repeats", type=int, default=7, help="timed repetitions of the fast parts")
    options = parser.parse_args()
    from tests.literal import literal_similarity

    model = load_weights(VGG16CIFAR(), options.data_root, "vgg16_cifar10_jpeg")
    images, _ = cifar_images(options.data_root, "train", 0, 128)
    maps = _activations(model, images)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def criterion() -> None:
        for features in maps:
            channel_similarity(features)

    def calibration() -> None:
        FOADImportance(images).calibrate(model)

    times = _in_turn({"forward": forward, "criterion": criterion, "calibration": calibration}, options.repeats)
    start = time.perf_counter()
    literal = [literal_similarity(features) for features in maps]
    times["literal"] = [time.perf_counter() - start]
    error = max(
        float((channel_similarity(features) - slow).abs().max()) for features, slow in zip(maps, literal, strict=True)
    )
    middle = {name: median(values) for name, values in times.items()}
    rows = [
        ("bare forward pass", *_cells(times["forward"], middle["forward"])),
        ("criterion on the 13 feature maps", *_cells(times["criterion"], middle["forward"])),
        (
            "whole calibration: tracing, forward pass and criterion",
            *_cells(times["calibration"], middle["forward"]),
        ),
        ("literal loop over pairs on the 13 feature maps", *_cells(times["literal"], middle["forward"])),
    ]
    notes = (
        "VGG-16-BN for CIFAR with trained weights, 128 real images in one batch, on a CPU. The feature maps are those "
        "after each convolution, BN and ReLU; a calibration reads them where the next layer does, behind the pooling. "
        f"The literal loop takes {middle['literal'] / middle['criterion']:.0f} times as long as the criterion on the "
        f"same maps; the two differ by {error:.1e} at most. Times are medians of {options.repeats} runs taken in turn "
        "(the literal loop ran once), with the extremes beside them."
    )
    heads = ("what", "seconds", "least", "most", "of a forward pass")
    write_page(options.out, "Speed", "python -m foad_plugins.benchmarks.studies.speed", notes, heads, rows)


def _activations(model: nn.Module, images: Tensor) -> list[Tensor]:
    maps: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        maps.append(output.clone())

    handles = [layer.register_forward_hook(keep) for layer in model.modules() if isinstance(layer, nn.ReLU)]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return maps


def _in_turn(parts: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each part, run one after the other again and again, so that a slow moment hits them all."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(repeats + 1):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def _cells(values: list[float], forward: float) -> tuple[str, str, str, str]:
    middle = median(values)
    return f"{middle:.3f}", f"{min(values):.3f}", f"{max(values):.3f}", f"{middle / forward:.2f}"


if __name__ == "__main__":
    main()
