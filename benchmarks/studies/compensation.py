"""Effect of compensation and of adjusted BN statistics for every criterion, before fine-tuning, on ResNet-56."""

from __future__ import annotations

import copy
from collections import defaultdict
from statistics import mean, stdev

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from ... import prune
from ..criteria import CriterionContext, CriterionSpec, build_criterion
from ..datasets import ImageSource
from ..runs.cached_scores import CachedScores
from ..training.train import evaluate
from .common import arguments, resnet56_cifar10, write_page

_SETS = 4
_IMAGES = 128
_CRITERIA = (
    *(
        CriterionSpec(name="foad", settings={"order": order}, label=f"foad, {order}")
        for order in ("reconstruction", "rounds", "backward")
    ),
    *(CriterionSpec(name=name) for name in ("l1", "fpgm", "hrank", "random")),
)
_COMPENSATIONS = {"no compensation": None, "least squares": "least_squares"}
_STATISTICS = ("", ", BN adjusted", ", BN re-estimated")
_STAGES = tuple(name + statistics for name in _COMPENSATIONS for statistics in _STATISTICS)


def main() -> None:
    """Measure and write docs/measurements/compensation.md."""
    options = arguments(main.__doc__ or "", "compensation.md").parse_args()
    torch.set_num_threads(1)
    base, data = resnet56_cifar10(options.data_root, _SETS * _IMAGES)
    results: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number, calibration in enumerate(data.train_images.split(_IMAGES)):
        for spec in _CRITERIA:
            results[spec.title].append(accuracies(base, spec, calibration, number, data))
    rows = [
        (title, *(_spread([of_set[stage] for of_set in sets]) for stage in _STAGES)) for title, sets in results.items()
    ]
    notes = (
        "Accuracy in % on 1,017 lossless CIFAR-10 test images (one standard error of 93 % is 0.8 points) of the FOAD "
        f"authors' ResNet-56, {100 * evaluate(base, data):.2f} % unpruned, after halving the first convolution of "
        "each block at once, without fine-tuning: without compensation, or with the consumers adjusted by least "
        "squares; and with the statistics of batch normalization unchanged, adjusted by the shift seen on the images "
        "(what `prune` does), or re-estimated from these images alone (`torch.optim.swa_utils.update_bn`). Mean and "
        f"standard deviation over {_SETS} sets of {_IMAGES} calibration images, which also seed the random scores."
    )
    command = "python -m foad_plugins.benchmarks.studies.compensation --data-root DIR"
    write_page(options.out, "Compensation", command, notes, ("criterion", *_STAGES), rows)


def accuracies(base: nn.Module, spec: CriterionSpec, images: Tensor, seed: int, data: ImageSource) -> dict[str, float]:
    """Test accuracy in % at each stage, of copies of a network in which every block loses half its inner channels."""
    book = CachedScores(build_criterion(spec, CriterionContext(images, seed)), spec.title)
    inner = [
        f"{name}.baseNet.0" for name, _ in base.named_modules() if name.rpartition(".")[2].startswith("BasicBlock")
    ]

    def pruned(compensate: str | None, *, reestimate_bn: bool) -> nn.Module:
        model = copy.deepcopy(base)
        prune(
            model,
            images,
            pruning_ratio_dict=dict.fromkeys(inner, 0.5),
            importance=book,
            compensate=compensate,
            reestimate_bn=reestimate_bn,
            measure_latency=False,
        )
        return model

    found = []
    for compensate in _COMPENSATIONS.values():
        model = pruned(compensate, reestimate_bn=False)
        found.append(evaluate(model, data))
        found.append(evaluate(pruned(compensate, reestimate_bn=True), data))
        update_bn([images], model)
        found.append(evaluate(model, data))
    return {stage: 100 * accuracy for stage, accuracy in zip(_STAGES, found, strict=True)}


def _spread(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


if __name__ == "__main__":
    main()
