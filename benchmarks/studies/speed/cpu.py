"""Time of calibration beside forward passes and other criteria, its memory, and a model of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from statistics import median

import torch
import torchvision
from torch import Tensor, nn

from .... import FOADImportance, channel_similarity, greedy_select
from ....calibration.collect import calibrate
from ....calibration.data import CalibrationData
from ...criteria.hrank import rank_sums
from ...criteria.spec import CriterionContext
from ...criteria.taylor import Taylor
from ...models.vgg_cifar import VGG16CIFAR
from ..common import arguments, cifar_images, load_weights
from .cost_model import Machine, reads_of
from .cpu_page import write_page
from .peak_memory import peak_memory
from .timing import cpu_seconds, forward, interleaved, relu_maps, shown

_MIB = 2**20
_HRANK_IMAGES = 4


def main() -> None:
    """Measure and write docs/measurements/speed.md; run from a checkout, whose tests/ hold the literal loop."""
    parser = arguments(main.__doc__ or "", "speed.md")
    parser.add_argument("--rounds", type=int, default=5, help="how often the parts are timed, interleaved")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=16, help="in the batch at 224x224")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rounds, machine = options.rounds, Machine.measured()
    vgg = load_weights(VGG16CIFAR(), options.data_root, "vgg16_cifar10_jpeg")
    cifar, _ = cifar_images(options.data_root, "train", 0, 128)
    resnet = torchvision.models.resnet50().eval()
    images = torch.randn(options.images, 3, 224, 224)
    figures = list(shown(chain(_on_vgg(vgg, cifar, rounds), _on_resnet(resnet, images, rounds), _selection(rounds))))
    cases: list[tuple[str, nn.Module, Tensor, int]] = [
        ("VGG-16, 32x32", vgg, cifar, rounds),
        ("ResNet-50, 224x224", resnet, images, rounds),
    ]
    for name in ("resnet18", "mobilenet_v2", "densenet121"):
        cases.append((f"{name}, 224x224", torchvision.models.get_model(name).eval(), images[:4], max(2, rounds // 2)))
    costs = list(shown(_cost(machine, *case) for case in cases))
    memory = list(shown(map(_memory, ("resnet50", "densenet201", "convnext_base"))))
    write_page(options.out, machine, figures, costs, memory)


def _on_vgg(model: nn.Module, images: Tensor, rounds: int) -> Iterator[tuple[str, float]]:
    from tests.helpers.reference_implementation import literal_similarity

    maps = relu_maps(model, images)
    times = interleaved(
        {
            "forward": partial(forward, model, [images]),
            "criterion": lambda: _each(channel_similarity, maps),
            "whole": lambda: FOADImportance(images).calibrate(model),
        },
        rounds,
        cpu_seconds,
    )
    literal = cpu_seconds(lambda: _each(literal_similarity, maps))
    yield "whole calibration of VGG-16, 128 images of 32x32", _ratio(times, "whole", "forward")
    yield "criterion alone on its 13 feature maps, in forward passes", _ratio(times, "criterion", "forward")
    yield "literal loop, in criteria on the same maps", literal / median(times["criterion"])
    yield from _hrank("VGG-16", maps, rounds)


def _on_resnet(model: nn.Module, images: Tensor, rounds: int) -> Iterator[tuple[str, float]]:
    taylor = Taylor(CriterionContext(images, 0, torch.arange(len(images))), batch_size=8)
    times = interleaved(
        {
            "forward": partial(forward, model, [images]),
            "whole": lambda: FOADImportance(images).calibrate(model),
            "taylor": lambda: taylor.calibrate(model),
        },
        rounds,
        cpu_seconds,
    )
    yield f"whole calibration of ResNet-50, {len(images)} images of 224x224", _ratio(times, "whole", "forward")
    yield "Taylor on ResNet-50, in whole calibrations", _ratio(times, "taylor", "whole")
    yield from _hrank("ResNet-50", relu_maps(model, images), rounds)


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


def _memory(name: str) -> tuple[str | float, ...]:
    """MiB of the weights, then of forward passes over one batch and three, then of calibrations on as many."""
    weights = sum(value.numel() * value.element_size() for value in getattr(torchvision.models, name)().parameters())
    peaks = [peak_memory(name, count, 8, calibrate=calibrate) for calibrate in (False, True) for count in (1, 3)]
    return name, *(size / _MIB for size in (weights, *peaks))


def _ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    return median(a / b for a, b in zip(times[one], times[other], strict=True))


def _each(function: Callable[[Tensor], object], maps: list[Tensor]) -> None:
    for features in maps:
        function(features)


if __name__ == "__main__":
    main()
