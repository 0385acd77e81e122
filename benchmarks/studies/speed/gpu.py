"""Time of calibration on a GPU beside forward passes and Taylor, how often the host waits, and agreement with a CPU."""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TypeAlias

import torch
import torchvision
from torch import Tensor, nn

from .... import FOADImportance, channel_similarity, elimination_order, greedy_select
from ....calibration.collect import calibrate
from ....calibration.data import CalibrationData
from ....calibration.observers import ChannelSet
from ...criteria.spec import CriterionContext
from ...criteria.taylor import Taylor
from ...models.vgg_cifar import VGG16CIFAR
from ...records.environment import git_commit
from ..common import cifar_images, load_weights
from .cost_model import reads_of
from .gpu_page import write_page
from .timing import forward, interleaved, relu_maps, shown

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
    parser.add_argument("--small", type=int, nargs="*", default=[128, 512], help="how many images of 32x32 for VGG-16")
    parser.add_argument("--channels", type=int, default=2048, help="of the selection")
    options = parser.parse_args()
    torch.manual_seed(0)
    on_gpu = options.device.type == "cuda"
    figures = shown(chain(_on_resnet(options), _on_vgg(options), _selection(options)))
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


def _milliseconds(options: argparse.Namespace, parts: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median of each part, between events on the GPU's own clock."""

    def seconds(part: Callable[[], object]) -> float:
        if options.device.type != "cuda":
            start = time.perf_counter()
            part()
            return time.perf_counter() - start
        torch.cuda.synchronize(options.device)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        part()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    return {name: 1e3 * median(times) for name, times in interleaved(parts, options.rounds, seconds).items()}


def _on_resnet(options: argparse.Namespace) -> Figures:
    model = torchvision.models.resnet50().eval().to(options.device)
    images = torch.randn(options.batch, 3, options.side, options.side, device=options.device)
    reads, data = reads_of(model, images[:1]), [images] * options.batches
    labels = torch.arange(len(images)).repeat(options.batches) % 1000
    taylor = Taylor(CriterionContext(torch.cat(data), 0, labels), batch_size=options.batch)
    times = _milliseconds(
        options,
        {
            "forward": partial(forward, model, data),
            "read": lambda: calibrate(model, CalibrationData(data), reads),
            "whole": lambda: FOADImportance(data).calibrate(model),
            "taylor": lambda: taylor.calibrate(model),
            "one": lambda: FOADImportance(images).calibrate(model),
            "forward of one": partial(forward, model, [images]),
        },
    )
    name = f"ResNet-50, {options.batches} batches of {options.batch} images of {options.side}x{options.side}"
    yield f"forward passes of {name}", times["forward"], "ms"
    yield "whole calibration on them, in forward passes", times["whole"] / times["forward"], ""
    yield "the same without tracing", times["read"] / times["forward"], ""
    yield "whole calibration on one of the batches, in forward passes", times["one"] / times["forward of one"], ""
    yield "tracing ResNet-50", times["whole"] - times["read"], "ms"
    yield "Taylor on ResNet-50, in whole calibrations", times["taylor"] / times["whole"], ""
    yield from _waits("ResNet-50", model, images, reads)


def _on_vgg(options: argparse.Namespace) -> Figures:
    model: nn.Module = VGG16CIFAR().eval()
    most = max(options.small)
    if options.data_root is None:
        images = torch.randn(most, 3, 32, 32)
    else:
        model = load_weights(model, options.data_root, "vgg16_cifar10_jpeg")
        images, _ = cifar_images(options.data_root, "train", 0, most)
    model, images = model.to(options.device), images.to(options.device)
    reads = reads_of(model, images[:1])
    for count in options.small:
        few = images[:count].clone()
        times = _milliseconds(
            options,
            {
                "forward": partial(forward, model, [few]),
                "read": partial(calibrate, model, CalibrationData(few), reads),
                "whole": partial(FOADImportance(few).calibrate, model),
            },
        )
        yield f"forward pass of VGG-16, {count} images of 32x32", times["forward"], "ms"
        yield "whole calibration on them, in forward passes", times["whole"] / times["forward"], ""
        yield "the same without tracing", times["read"] / times["forward"], ""
    yield from _waits("VGG-16", model, images[:32], reads)
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
    times = _milliseconds(
        options,
        {"select": lambda: greedy_select(similarity), "order": lambda: elimination_order(similarity, "rounds")},
    )
    yield f"selection among {options.channels:,} channels", times["select"], "ms"
    yield "the whole order by rounds", times["order"], "ms"


if __name__ == "__main__":
    main()
