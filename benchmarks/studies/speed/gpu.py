"""Time of calibration on a GPU beside forward passes and Taylor, how often the host waits, and agreement with a CPU."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

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

_SYNC = "called a synchronizing CUDA operation"


def main() -> None:
    """Measure, write docs/measurements/speed-gpu.json, and render docs/measurements/speed-gpu.md from it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data-root", type=Path, help="folder with data/ and weights/; without it both are random")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/measurements/speed-gpu.json"), help="the page goes beside it"
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often the parts are timed, interleaved")
    parser.add_argument("--side", type=int, default=224, help="of the images of ResNet-50")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch of ResNet-50")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--small", type=int, nargs="*", default=[128, 512], help="how many images of 32x32 for VGG-16")
    parser.add_argument("--channels", type=int, default=2048, help="of the selection")
    parser.add_argument("--profile", action="store_true", help="print what the GPU spends its time on")
    options = parser.parse_args()
    torch.manual_seed(0)
    study = Study(torch.device(options.device), options.rounds)
    _on_resnet(study, options)
    _on_vgg(study, options)
    _selection(study, options.channels)
    study.write(options.out)


class Study:
    """Measures on one device and gathers what is found.

    Args:
        device: where.
        rounds: how often the parts are timed.
    """

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device = device
        self._rounds = rounds
        self._rows: list[dict[str, Any]] = []

    def put(
        self, what: str, value: float, unit: str = "", *, most: float | None = None, least: float | None = None
    ) -> None:
        """A figure, and its goal where it has one."""
        self._rows.append({"what": what, "value": value, "unit": unit, "most": most, "least": least})
        print(what, f"{value:.4g}", unit, sep=" | ", flush=True)

    def by_turns(self, parts: dict[str, Callable[[], object]]) -> dict[str, float]:
        """Median milliseconds of each part, run one after the other again and again, after a first time for warming."""
        times: dict[str, list[float]] = {name: [] for name in parts}
        for number in range(self._rounds + 1):
            for name, part in parts.items():
                spent = self._milliseconds(part)
                if number:
                    times[name].append(spent)
        return {name: median(spent) for name, spent in times.items()}

    def waits(self, part: Callable[[], object]) -> Counter[str]:
        """Where and how often the host waits for the GPU; nothing on a CPU."""
        found: Counter[str] = Counter()
        if self.device.type != "cuda":
            return found
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                part()
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        for warning in caught:
            if _SYNC in str(warning.message):
                found[f"{Path(warning.filename).name}:{warning.lineno}"] += 1
        return found

    def write(self, path: Path) -> None:
        """Write the record and the page."""
        cuda = self.device.type == "cuda"
        record = {
            "device": torch.cuda.get_device_name(self.device) if cuda else platform.machine(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "commit": git_commit(Path(__file__)),
            "convolutions in TF32": cuda and torch.backends.cudnn.allow_tf32,
            "rows": self._rows,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
        write_page(record, path.with_suffix(".md"))

    def _milliseconds(self, part: Callable[[], object]) -> float:
        if self.device.type != "cuda":
            start = time.perf_counter()
            part()
            return (time.perf_counter() - start) * 1e3
        torch.cuda.synchronize(self.device)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        part()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))


def _on_resnet(study: Study, options: argparse.Namespace) -> None:
    model = torchvision.models.resnet50().eval().to(study.device)
    images = torch.randn(options.batch, 3, options.side, options.side, device=study.device)
    reads, data = reads_of(model, images[:1]), [images] * options.batches
    labels = torch.arange(len(images)).repeat(options.batches) % 1000
    taylor = Taylor(CriterionContext(torch.cat(data), 0, labels), batch_size=options.batch)
    times = study.by_turns(
        {
            "forward": lambda: _forward(model, data),
            "read": lambda: calibrate(model, CalibrationData(data), reads),
            "whole": lambda: FOADImportance(data).calibrate(model),
            "taylor": lambda: taylor.calibrate(model),
            "one": lambda: FOADImportance(images).calibrate(model),
            "forward of one": lambda: _forward(model, [images]),
        }
    )
    name = f"ResNet-50, {options.batches} batches of {options.batch} images of {options.side}x{options.side}"
    study.put(f"forward passes of {name}", times["forward"], "ms")
    study.put("whole calibration on them, in forward passes", times["whole"] / times["forward"], most=1.2)
    study.put("the same without tracing", times["read"] / times["forward"])
    study.put("whole calibration on one of the batches, in forward passes", times["one"] / times["forward of one"])
    study.put("tracing ResNet-50", times["whole"] - times["read"], "ms")
    study.put("Taylor on ResNet-50, in whole calibrations", times["taylor"] / times["whole"], least=1.6)
    _waits(study, "ResNet-50", model, images, reads)
    if options.profile:
        _profile(model, images, reads)


def _on_vgg(study: Study, options: argparse.Namespace) -> None:
    model: nn.Module = VGG16CIFAR().eval()
    most = max(options.small)
    if options.data_root is None:
        images = torch.randn(most, 3, 32, 32)
    else:
        model = load_weights(model, options.data_root, "vgg16_cifar10_jpeg")
        images, _ = cifar_images(options.data_root, "train", 0, most)
    model, images = model.to(study.device), images.to(study.device)
    reads = reads_of(model, images[:1])
    for count in options.small:
        few = images[:count].clone()
        times = study.by_turns(
            {
                "forward": partial(_forward, model, [few]),
                "read": partial(calibrate, model, CalibrationData(few), reads),
                "whole": partial(FOADImportance(few).calibrate, model),
            }
        )
        study.put(f"forward pass of VGG-16, {count} images of 32x32", times["forward"], "ms")
        study.put("whole calibration on them, in forward passes", times["whole"] / times["forward"])
        study.put("the same without tracing", times["read"] / times["forward"])
    _waits(study, "VGG-16", model, images[:32], reads)
    _agreement(study, model, images[:32])


def _waits(study: Study, name: str, model: nn.Module, images: Tensor, reads: Sequence[ChannelSet]) -> None:
    if study.device.type != "cuda":
        return
    once = study.waits(lambda: calibrate(model, CalibrationData([images]), reads))
    half = study.waits(lambda: calibrate(model, CalibrationData([images[: len(images) // 2]]), reads))
    more = study.waits(lambda: calibrate(model, CalibrationData([images] * 3), reads))
    print(name, "waits for one batch:", dict(once), "for three:", dict(more), file=sys.stderr)
    study.put(f"{name}: the host waits for the GPU, times a batch more", (more.total() - once.total()) / 2)
    study.put(f"{name}: times an image more", (once.total() - half.total()) / (len(images) / 2), most=0)
    study.put(f"{name}: times in a calibration on one batch, tracing apart", once.total())


def _agreement(study: Study, model: nn.Module, images: Tensor) -> None:
    """Whether the device selects what a CPU selects on the same maps."""
    maps: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda module, args, output: maps.append(output.clone()))
        for layer in model.modules()
        if isinstance(layer, nn.ReLU)
    ]
    _forward(model, [images])
    for handle in handles:
        handle.remove()
    alike, furthest = 0, 0.0
    for one in maps:
        here, there = channel_similarity(one).cpu(), channel_similarity(one.cpu())
        furthest = max(furthest, float((here - there).abs().max()))
        alike += greedy_select(here) == greedy_select(there) or greedy_select(here).kept == greedy_select(there).kept
    study.put(f"VGG-16's {len(maps)} maps: same kept lists as on a CPU, share", alike / len(maps), least=1)
    study.put("largest difference of a similarity", furthest)


def _selection(study: Study, channels: int) -> None:
    similarity = channel_similarity(torch.randn(4, channels, 7, 7, device=study.device).relu())
    times = study.by_turns(
        {"select": lambda: greedy_select(similarity), "order": lambda: elimination_order(similarity, "rounds")}
    )
    study.put(f"selection among {channels:,} channels", times["select"], "ms", most=50)
    study.put("the whole order by rounds", times["order"], "ms")


def _profile(model: nn.Module, images: Tensor, reads: Sequence[ChannelSet]) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        calibrate(model, CalibrationData(images), reads)
    for key in ("self_device_time_total", "self_cpu_time_total"):
        print(profile.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=60), file=sys.stderr)


def _forward(model: nn.Module, batches: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for batch in batches:
            model(batch)


if __name__ == "__main__":
    main()
