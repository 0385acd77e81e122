"""Time of a call against FLOPs: VGG-16 pruned to half its FLOPs, in torch and in ONNX Runtime on a CPU."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ... import count_flops, count_params, export_model, prune
from ..models.vgg_cifar import VGG16CIFAR
from .common import arguments, cifar_images, load_weights, write_page
from .speed.timing import cpu_seconds, interleaved

_IMAGES = 256
_BATCHES = (1, 64)
_ROUNDS = 15
_TARGETS: dict[str, dict[str, Any]] = {
    "flops=0.5": {"flops": 0.5},
    "flops=0.5, round_to=16": {"flops": 0.5, "round_to": 16},
    "latency=0.5": {"latency": 0.5},
}
_COMMAND = "python -m foad_plugins.benchmarks.studies.latency --data-root DIR"


def main() -> None:
    """Write docs/measurements/latency.md."""
    parser = arguments(main.__doc__ or "", "latency.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    original = load_weights(VGG16CIFAR(), options.data_root, "vgg16_cifar10_jpeg")
    images, _ = cifar_images(options.data_root, "train", 0, _IMAGES)
    networks = {"original": original}
    for name, target in _TARGETS.items():
        networks[name] = copy.deepcopy(original)
        prune(networks[name], [images[: _BATCHES[-1]], images[_BATCHES[-1] :]], measure_latency=False, **target)
    notes = (
        "VGG-16 for CIFAR-10, pruned by `prune` with the options of the first column; `latency=0.5` is the time of a "
        f"batch of {_BATCHES[-1]} in torch. Milliseconds an image on one CPU thread, medians of {_ROUNDS} interleaved "
        "rounds of processor time."
    )
    heads = ["network", "params", "FLOPs", *(f"{name}, batch {size}" for size in _BATCHES for name in _RUNTIMES)]
    write_page(options.out, "Latency", _COMMAND, notes, heads, _rows(networks, images))


def _rows(networks: Mapping[str, nn.Module], images: Tensor) -> list[list[object]]:
    times: dict[str, list[float]] = {name: [] for name in networks}
    for size in _BATCHES:
        batch = images[:size]
        with tempfile.TemporaryDirectory() as folder:
            parts = {
                f"{name} {runtime}": make(network, batch, Path(folder) / f"{number}.onnx")
                for number, (name, network) in enumerate(networks.items())
                for runtime, make in _RUNTIMES.items()
            }
            found = interleaved(parts, _ROUNDS, cpu_seconds)
        for name in networks:
            times[name] += [1e3 * median(found[f"{name} {runtime}"]) / size for runtime in _RUNTIMES]
    base = networks["original"]
    rows: list[list[object]] = []
    for name, network in networks.items():
        params = count_params(network) / count_params(base)
        flops = count_flops(network, images[:1]) / count_flops(base, images[:1])
        rows.append([name, f"{params:.0%}", f"{flops:.0%}", *(f"{value:.2f}" for value in times[name])])
    return rows


def _torch(network: nn.Module, batch: Tensor, file: Path, memory_format: torch.memory_format) -> Callable[[], object]:
    model = copy.deepcopy(network).to(memory_format=memory_format)
    images = batch.contiguous(memory_format=memory_format)
    return torch.inference_mode()(partial(model, images))


def _onnx(network: nn.Module, batch: Tensor, file: Path) -> Callable[[], object]:
    import onnxruntime

    export_model(network, batch, file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {session.get_inputs()[0].name: batch.numpy()})


_RUNTIMES: dict[str, Callable[[nn.Module, Tensor, Path], Callable[[], object]]] = {
    "torch": partial(_torch, memory_format=torch.contiguous_format),
    "channels_last": partial(_torch, memory_format=torch.channels_last),
    "ONNX Runtime": _onnx,
}


if __name__ == "__main__":
    main()
