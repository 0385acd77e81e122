"""Time of calibration on a GPU beside forward passes and Taylor, how often the host waits, and agreement with a CPU."""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TypeAlias

import torch
import torchvision
from torch import Tensor, nn

from .... import channel_similarity, elimination_order, greedy_select
from ....calibration.collect import calibrate
from ....calibration.data import CalibrationData
from ....calibration.observers import ChannelSet
from ...models.foad_resnet import foad_resnet56
from ...models.vgg_cifar import VGG16CIFAR
from ...records.environment import git_commit
from ..common import cifar_images, load_weights
from .cost_model import reads_of
from .gpu_page import write_page
from .parts import parts_of
from .timing import interleaved, relu_maps, shown

Figures: TypeAlias = "Iterator[tuple[str, float, str]]"
"""What was measured, the number, and its unit."""


def main() -> None:
    """Measure, write docs/measurements/speed-gpu.json, and render docs/measurements/speed-gpu.md from it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--data-root", type=Path, help="folder with data/ and weights/; without it both are random")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/measurements/speed-gpu.json"), help="the page is written beside it"
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often the parts are timed, interleaved")
    parser.add_argument("--side", type=int, default=224, help="of the images of ResNet-50")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch of ResNet-50")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--small", type=int, nargs="*", default=[128, 512], help="how many images of 32x32")
    parser.add_argument("--channels", type=int, default=2048, help="of the selection")
    options = parser.parse_args()
    torch.manual_seed(0)
    on_gpu = options.device.type == "cuda"
    figures = shown(chain(_on_resnet(options), _on_small_images(options), _selection(options)))
    record = {
        "device": torch.cuda.get_device_name(options.device) if on_gpu else platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": git_commit(Path(__file__)),
        "convolutions in TF32": on_gpu and torch.backends.cudnn.allow_tf32,
        "rows": [{"what": what, "value": value, "unit": unit} for what, value, unit in figures],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    write_page(record, options.out.with_suffix(".md"))


def _seconds(device: torch.device) -> Callable[[Callable[[], object]], float]:
    """A clock: between events on the GPU's own."""

    def seconds(part: Callable[[], object]) -> float:
        if device.type != "cuda":
            start = time.perf_counter()
            part()
            return time.perf_counter() - start
        torch.cuda.synchronize(device)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        part()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    return seconds


def _on_resnet(options: argparse.Namespace) -> Figures:
    model = torchvision.models.resnet50().eval().to(options.device)
    images = torch.randn(options.batch, 3, options.side, options.side, device=options.device)
    name = f"ResNet-50, {options.batches} batches of {options.batch} images of {options.side}x{options.side}, random"
    yield from parts_of(name, model, [images] * options.batches, options.rounds, _seconds(options.device))
    yield from _waits("ResNet-50", model, images, reads_of(model, images[:1]))


def _on_small_images(options: argparse.Namespace) -> Figures:
    most, root, device = max(options.small), options.data_root, options.device
    networks: dict[str, tuple[nn.Module, str]] = {
        "ResNet-56": (foad_resnet56(), "resnet56_cifar10"),
        "VGG-16": (VGG16CIFAR(), "vgg16_cifar10_jpeg"),
    }
    images = torch.randn(most, 3, 32, 32) if root is None else cifar_images(root, "train", 0, most)[0]
    images = images.to(device)
    for network, (model, weights) in networks.items():
        model = (model.eval() if root is None else load_weights(model, root, weights)).to(device)
        for count in options.small:
            name = f"{network}, {count} images of 32x32, {'random' if root is None else 'trained'}"
            yield from parts_of(name, model, [images[:count].clone()], options.rounds, _seconds(device))
        yield from _waits(network, model, images[:32], reads_of(model, images[:1]))
    yield from _agreement(model, images[:32])


def _waits(name: str, model: nn.Module, images: Tensor, reads: Sequence[ChannelSet]) -> Figures:
    """How often the host waits for the GPU; nothing on a CPU."""
    if images.device.type != "cuda":
        return

    def count(batches: list[Tensor]) -> int:
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                calibrate(model, CalibrationData(batches), reads)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        return sum("called a synchronizing CUDA operation" in str(warning.message) for warning in caught)

    half = len(images) // 2
    once, fewer, more = count([images]), count([images[:half]]), count([images] * 3)
    yield f"{name}: the host waits for the GPU, times a batch more", (more - once) / 2, ""
    yield f"{name}: times an image more", (once - fewer) / half, ""
    yield f"{name}: times in a calibration on one batch, tracing apart", once, ""


def _agreement(model: nn.Module, images: Tensor) -> Figures:
    """Whether the device selects what a CPU selects on the same maps."""
    maps = relu_maps(model, images)
    alike, furthest = 0, 0.0
    for one in maps:
        here, there = channel_similarity(one).cpu(), channel_similarity(one.cpu())
        furthest = max(furthest, float((here - there).abs().max()))
        alike += greedy_select(here).kept == greedy_select(there).kept
    yield f"VGG-16's {len(maps)} maps: same kept lists as on a CPU, share", alike / len(maps), ""
    yield "largest difference of a similarity", furthest, ""


def _selection(options: argparse.Namespace) -> Figures:
    maps = torch.randn(4, options.channels, 7, 7, device=options.device).relu()
    similarity = channel_similarity(maps)
    times = interleaved(
        {"select": lambda: greedy_select(similarity), "order": lambda: elimination_order(similarity, "rounds")},
        options.rounds,
        _seconds(options.device),
    )
    yield f"selection among {options.channels:,} channels", 1e3 * median(times["select"]), "ms"
    yield "the whole order by rounds", 1e3 * median(times["order"]), "ms"


if __name__ == "__main__":
    main()
