"""Time of calibration beside forward passes and other criteria, its memory, and a model of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from .cpu_page import Page
from .peak_memory import peak_memory

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
    page = Page(options.threads)
    machine = Machine.measured()
    vgg = load_weights(VGG16CIFAR(), options.data_root, "vgg16_cifar10_jpeg")
    cifar, _ = cifar_images(options.data_root, "train", 0, 128)
    resnet = torchvision.models.resnet50().eval()
    images = torch.randn(options.images, 3, 224, 224)
    _on_vgg(page, vgg, cifar, options.rounds)
    _on_resnet(page, resnet, images, options.rounds)
    _selection(page, options.rounds)
    for name, model, batch in (("VGG-16, 32x32", vgg, cifar), ("ResNet-50, 224x224", resnet, images)):
        _model_of_cost(page, machine, name, model, batch, options.rounds)
    for name in ("resnet18", "mobilenet_v2", "densenet121"):
        model = getattr(torchvision.models, name)().eval()
        _model_of_cost(page, machine, f"{name}, 224x224", model, images[:4], max(2, options.rounds // 2))
    for name in ("resnet50", "densenet201", "convnext_base"):
        _memory(page, name)
    page.write(options.out, machine)


def _on_vgg(page: Page, model: nn.Module, images: Tensor, rounds: int) -> None:
    from tests.helpers.reference_implementation import literal_similarity

    maps = _activations(model, images)
    times = by_turns(
        {
            "forward": _forward(model, images),
            "criterion": lambda: _each(channel_similarity, maps),
            "whole": lambda: FOADImportance(images).calibrate(model),
        },
        rounds,
    )
    literal = by_turns({"literal": lambda: _each(literal_similarity, maps)}, 1)["literal"][0]
    page.goal("whole calibration of VGG-16, 128 images of 32x32", _ratio(times, "whole", "forward"), most=1.25)
    page.note("criterion alone on its 13 feature maps, in forward passes", _ratio(times, "criterion", "forward"))
    page.goal("literal loop, in criteria on the same maps", literal / median(times["criterion"]), least=150)
    _hrank(page, "VGG-16", maps, rounds)


def _on_resnet(page: Page, model: nn.Module, images: Tensor, rounds: int) -> None:
    labels = torch.arange(len(images))
    taylor = Taylor(CriterionContext(images, 0, labels), batch_size=8)
    times = by_turns(
        {
            "forward": _forward(model, images),
            "whole": lambda: FOADImportance(images).calibrate(model),
            "taylor": lambda: taylor.calibrate(model),
        },
        rounds,
    )
    page.goal(
        f"whole calibration of ResNet-50, {len(images)} images of 224x224", _ratio(times, "whole", "forward"), most=1.7
    )
    page.goal("Taylor on ResNet-50, in whole calibrations", _ratio(times, "taylor", "whole"), least=1.6)
    _hrank(page, "ResNet-50", _activations(model, images), rounds)


def _hrank(page: Page, name: str, maps: list[Tensor], rounds: int) -> None:
    few = [features[:_HRANK_IMAGES] for features in maps]
    times = by_turns({"foad": lambda: _each(channel_similarity, few)}, rounds)
    times |= by_turns({"loop": lambda: _each(_ranks_one_by_one, few), "ours": lambda: _each(rank_sums, few)}, 1)
    foad, where = median(times["foad"]), f"on {_HRANK_IMAGES} images' maps of {name}, in criteria"
    page.goal(f"HRank map by map, as its authors publish it, {where}", times["loop"][0] / foad, least=50)
    page.note(f"HRank all maps of a batch at once, as ours is, {where}", times["ours"][0] / foad)


def _ranks_one_by_one(features: Tensor) -> Tensor:
    """What the published code does: the rank of one image's one channel at a time, fetched as a number."""
    ranks = [[torch.linalg.matrix_rank(one).item() for one in channels] for channels in features]
    return torch.tensor(ranks).sum(0)


def _selection(page: Page, rounds: int) -> None:
    similarity = channel_similarity(torch.randn(4, 2048, 7, 7).relu())
    seconds = median(by_turns({"select": lambda: greedy_select(similarity)}, rounds)["select"])
    page.goal("selection among 2,048 channels, in milliseconds", seconds * 1e3, most=50)


def _model_of_cost(page: Page, machine: Machine, name: str, model: nn.Module, images: Tensor, rounds: int) -> None:
    reads = reads_of(model, images[:1])
    data = CalibrationData(images)
    times = by_turns({"forward": _forward(model, images), "read": lambda: calibrate(model, data, reads)}, rounds)
    extra = median(times["read"]) - median(times["forward"])
    tensors, sums = machine.seen(model, reads, images)
    page.cost(name, machine.seconds(tensors), extra, sums / _MIB)


def _memory(page: Page, name: str) -> None:
    bare, read = ([peak_memory(name, n, 8, calibrate=calibrate) for n in (1, 3)] for calibrate in (False, True))
    weights = sum(value.numel() * value.element_size() for value in getattr(torchvision.models, name)().parameters())
    page.memory(name, weights / _MIB, [size / _MIB for size in bare], [size / _MIB for size in read])


def by_turns(parts: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each part, run one after the other again and again, so that a slow moment hits them all.

    With one thread it is the processor's time for this process, which others on the machine disturb less.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds + (rounds > 1)):
        for name, part in parts.items():
            start = clock()
            part()
            if number or rounds == 1:
                times[name].append(clock() - start)
    return times


def _ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    return median(a / b for a, b in zip(times[one], times[other], strict=True))


def _each(function: Callable[[Tensor], object], maps: list[Tensor]) -> None:
    for features in maps:
        function(features)


def _forward(model: nn.Module, images: Tensor) -> Callable[[], object]:
    def run() -> None:
        with torch.no_grad():
            model(images)

    return run


def _activations(model: nn.Module, images: Tensor) -> list[Tensor]:
    with _kept_outputs(model, nn.ReLU) as maps, torch.no_grad():
        model(images)
    return maps


@contextmanager
def _kept_outputs(model: nn.Module, kind: type[nn.Module]) -> Iterator[list[Tensor]]:
    maps: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda module, args, output: maps.append(output.clone()))
        for layer in model.modules()
        if isinstance(layer, kind)
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


if __name__ == "__main__":
    main()
