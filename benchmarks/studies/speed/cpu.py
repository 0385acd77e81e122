"""Time of calibration beside forward passes and other criteria on a CPU, and a model of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import median
from unittest import mock

import torch
import torchvision
from torch import Tensor, nn

from .... import FOADImportance, channel_similarity, greedy_select
from ....calibration.collect import calibrate
from ....calibration.data import CalibrationData
from ....criterion.kernels.dispatch import NUMBA_SWITCH
from ...criteria.hrank import rank_sums
from ...models.foad_resnet import foad_resnet56
from ...models.vgg_cifar import VGG16CIFAR
from ...records.environment import git_commit
from ..common import arguments, cifar_images, load_weights
from .cost_model import Machine, reads_of
from .cpu_page import write_page
from .parts import parts_of
from .timing import cpu_seconds, forward, interleaved, relu_maps, shown

_MIB = 2**20
_HRANK_IMAGES = 4
_LITERAL_IMAGES = 64


def main() -> None:
    """Measure, write docs/measurements/speed.json and render speed.md beside it; tests/ hold the literal loop."""
    parser = arguments(main.__doc__ or "", "speed.json")
    parser.add_argument("--rounds", type=int, default=5, help="how often the parts are timed, interleaved")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=32, help="in the batch at 224x224")
    parser.add_argument("--small", type=int, default=512, help="images in the batch at 32x32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rounds, machine = options.rounds, Machine.measured()
    vgg = load_weights(VGG16CIFAR(), options.data_root, "vgg16_cifar10_jpeg")
    resnet56 = load_weights(foad_resnet56(), options.data_root, "resnet56_cifar10")
    resnet50 = torchvision.models.resnet50().eval()
    cifar, _ = cifar_images(options.data_root, "train", 0, options.small)
    images = torch.randn(options.images, 3, 224, 224)
    networks: dict[str, tuple[nn.Module, Tensor]] = {
        f"ResNet-56, {len(cifar)} images of 32x32, trained": (resnet56, cifar),
        f"VGG-16, {len(cifar)} images of 32x32, trained": (vgg, cifar),
        f"ResNet-50, {len(images)} images of 224x224, random weights": (resnet50, images),
    }
    parts = {
        name: list(shown(chain(parts_of(name, *case, rounds, cpu_seconds), _numba(*case, rounds))))
        for name, case in ((name, (model, [batch])) for name, (model, batch) in networks.items())
    }
    beside = _hrank("ResNet-50", relu_maps(resnet50, images), rounds)
    others = chain(_literal(vgg, cifar[:_LITERAL_IMAGES], rounds), beside)
    cases = [(name, *case, rounds) for name, case in networks.items()]
    for name in ("resnet18", "mobilenet_v2", "densenet121"):
        model = torchvision.models.get_model(name).eval()
        cases.append((f"{name}, 224x224, random weights", model, images[:4], max(2, rounds // 2)))
    record = {
        "torch": torch.__version__,
        "torch-pruning": version("torch-pruning"),
        "threads": options.threads,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "commit": git_commit(Path(__file__)),
        "constants": [machine.rate, machine.pair, machine.call],
        "parts": parts,
        "others": list(shown(chain(others, _selection(rounds)))),
        "costs": list(shown(_cost(machine, *case) for case in cases)),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    write_page(record, options.out.with_suffix(".md"))


def _numba(model: nn.Module, batches: list[Tensor], rounds: int) -> Iterator[tuple[str, float, str]]:
    """Whole calibrations with Numba's loops, which fewer images than those of a usual calibration do not import."""
    with mock.patch.dict(os.environ, {NUMBA_SWITCH: "1"}):
        times = interleaved(
            {
                "forward": partial(forward, model, batches),
                "whole": lambda: FOADImportance(batches).calibrate(model),
                "all": lambda: FOADImportance(batches, products=True).calibrate(model),
            },
            rounds,
            cpu_seconds,
        )
    yield f"whole calibration, {NUMBA_SWITCH}=1", _ratio(times, "whole", "forward"), ""
    yield f"whole calibration with products, {NUMBA_SWITCH}=1", _ratio(times, "all", "forward"), ""


def _literal(model: nn.Module, images: Tensor, rounds: int) -> Iterator[tuple[str, float]]:
    from tests.helpers.reference_implementation import literal_similarity

    maps = relu_maps(model, images)
    times = interleaved(
        {
            "forward": partial(forward, model, [images]),
            "criterion": lambda: _each(channel_similarity, maps),
        },
        rounds,
        cpu_seconds,
    )
    literal = cpu_seconds(lambda: _each(literal_similarity, maps))
    yield "criterion alone on VGG-16's 13 feature maps, in forward passes", _ratio(times, "criterion", "forward")
    yield "literal loop, in criteria on the same maps", literal / median(times["criterion"])
    yield from _hrank("VGG-16", maps, rounds)


def _hrank(name: str, maps: list[Tensor], rounds: int) -> Iterator[tuple[str, float]]:
    few = [features[:_HRANK_IMAGES] for features in maps]
    foad = median(interleaved({"foad": lambda: _each(channel_similarity, few)}, rounds, cpu_seconds)["foad"])
    where = f"on {_HRANK_IMAGES} images' maps of {name}, in criteria"
    one_by_one = cpu_seconds(lambda: _each(_ranks_one_by_one, few))
    yield f"HRank map by map, as its authors publish it, {where}", one_by_one / foad
    at_once = cpu_seconds(lambda: _each(rank_sums, few))
    yield f"HRank all maps of a batch at once, as ours is, {where}", at_once / foad


def _ranks_one_by_one(features: Tensor) -> Tensor:
    """What the published code does: the rank of one image's one channel at a time, fetched as a number."""
    ranks = [[torch.linalg.matrix_rank(one).item() for one in channels] for channels in features]
    return torch.tensor(ranks).sum(0)


def _selection(rounds: int) -> Iterator[tuple[str, float]]:
    similarity = channel_similarity(torch.randn(4, 2048, 7, 7).relu())
    times = interleaved({"select": lambda: greedy_select(similarity)}, rounds, cpu_seconds)
    yield "selection among 2,048 channels, in milliseconds", 1e3 * median(times["select"])


def _cost(
    machine: Machine, name: str, model: nn.Module, images: Tensor, rounds: int
) -> tuple[str, float, float, float]:
    """Seconds of reading, by the model of the cost and measured, and MiB of the sums."""
    reads = reads_of(model, images[:1])
    data = CalibrationData(images)
    parts: dict[str, Callable[[], object]] = {
        "forward": partial(forward, model, [images]),
        "read": partial(calibrate, model, data, reads),
    }
    times = interleaved(parts, rounds, cpu_seconds)
    tensors, sums = machine.seen(model, reads, images)
    return name, machine.seconds(tensors), median(times["read"]) - median(times["forward"]), sums / _MIB


def _ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    return median(a / b for a, b in zip(times[one], times[other], strict=True))


def _each(function: Callable[[Tensor], object], maps: list[Tensor]) -> None:
    for features in maps:
        function(features)


if __name__ == "__main__":
    main()
