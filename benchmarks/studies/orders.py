"""The elimination orders side by side: accuracy of the authors' ResNet-56 without fine-tuning, at equal widths."""

from __future__ import annotations

import copy
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from ... import FOADImportance
from ...criterion.ordering import ORDERS
from ..models.foad_resnet import FOADResNet
from .common import arguments, cifar_images, load_weights, write_page

_STARTS = (0, 1000, 2000, 3000)
_SCOPES = {
    "first convolution of each block, 20 %": (True, 0.2),
    "first convolution of each block, 40 %": (True, 0.4),
    "first convolution of each block, 60 %": (True, 0.6),
    "all layers, 10 %": (False, 0.1),
    "all layers, 20 %": (False, 0.2),
}


def main() -> None:
    """Measure and write docs/measurements/orders.md."""
    options = arguments(main.__doc__ or "", "orders.md").parse_args()
    base = load_weights(FOADResNet(), options.data_root, "resnet56_cifar10")
    test = cifar_images(options.data_root, "test", 0, 1017)
    results: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for scope in _SCOPES:
        for order in ORDERS:
            for start in _STARTS:
                results[scope, order].append(_one(base, options.data_root, scope, order, start, test))
    rows = [
        (scope, order, _spread([first for first, _ in values]), _spread([second for _, second in values]))
        for (scope, order), values in results.items()
    ]
    notes = (
        "Accuracy in % on 1,017 lossless CIFAR-10 test images (one standard error of 93 % is 0.8 points) of the FOAD "
        f"authors' ResNet-56, {_accuracy(base, *test):.2f} % unpruned, after cutting the same share of every "
        "coupled group at once, without fine-tuning: as it is, and with BN statistics taken anew from 768 "
        f"training images. Mean and standard deviation over {len(_STARTS)} sets of 128 calibration images."
    )
    heads = ("channels cut", "order", "one-shot", "BN re-estimated")
    command = "python -m foad_plugins.benchmarks.studies.orders"
    write_page(options.out, "Elimination orders", command, notes, heads, rows)


def _one(
    base: nn.Module, root: Path, scope: str, order: str, start: int, test: tuple[Tensor, Tensor]
) -> tuple[float, float]:
    inner, ratio = _SCOPES[scope]
    model = copy.deepcopy(base)
    images, _ = cifar_images(root, "train", start, start + 128)
    blocks = [block.baseNet[0] for name, block in model.features.named_children() if name != "C1"]  # type: ignore[union-attr, index]
    pruner = tp.pruner.BasePruner(
        model,
        (images[:1],),
        importance=FOADImportance(images, order=order),
        pruning_ratio=0.0 if inner else ratio,
        pruning_ratio_dict=dict.fromkeys(blocks, ratio) if inner else None,
        ignored_layers=[model.fc],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    pruner.step()
    plain = _accuracy(model, *test)
    update_bn(cifar_images(root, "train", 4000, 4768)[0].split(256), model)
    return plain, _accuracy(model, *test)


@torch.no_grad()
def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    model.eval()
    hits = [
        (model(part).argmax(1) == truth).sum() for part, truth in zip(images.split(256), labels.split(256), strict=True)
    ]
    return 100 * int(torch.stack(hits).sum()) / len(labels)


def _spread(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


if __name__ == "__main__":
    main()
