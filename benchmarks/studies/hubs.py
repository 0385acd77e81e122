"""Hub channels: why the rule needs many rounds on MobileFaceNet."""

from __future__ import annotations

import io
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch_pruning as tp
from PIL import Image
from torch import Tensor, nn

from ... import FOADImportance, elimination_order, greedy_select
from ...adapters.torch_pruning.graph import prunable_groups
from ...calibration.observers import HookPoint
from ..models.foad_resnet import FOADResNet
from ..models.mobilefacenet import MobileFaceNet
from ..models.vgg_cifar import VGG16CIFAR
from .common import arguments, cifar_images, load_weights, write_page


def main() -> None:
    """Measure and write docs/measurements/hubs.md."""
    options = arguments(main.__doc__ or "", "hubs.md").parse_args()
    root = options.data_root
    images = cifar_images(root, "train", 0, 128)[0]
    cases: list[tuple[str, nn.Module, Tensor]] = [
        ("MobileFaceNet", load_weights(MobileFaceNet(), root, "mobilefacenet_casia"), _faces(root, 128)),
        ("VGG-16", load_weights(VGG16CIFAR(), root, "vgg16_cifar10_jpeg"), images),
        ("ResNet-56", load_weights(FOADResNet(), root, "resnet56_cifar10"), images),
    ]
    rows = [(name, *row) for name, model, data in cases for row in _groups(model, data)]
    notes = (
        "For every coupled group of three trained networks, 128 real images: channels kept by the published rule, the "
        'rounds that `order="rounds"` takes to the last channel, the share of channels whose nearest neighbor is one '
        "of the 5 % most popular (hubs), the share that is nobody's nearest neighbor, and the mean norm of the hubs' "
        "feature maps beside that of all."
    )
    heads = (
        "network",
        "group",
        "channels",
        "kept",
        "rounds",
        "nearest is a hub",
        "nobody's nearest",
        "hub norm / mean",
    )
    write_page(options.out, "Hub channels", "python -m foad_plugins.benchmarks.studies.hubs", notes, heads, rows)


def _groups(model: nn.Module, images: Tensor) -> list[tuple[str, int, int, int, str, str, str]]:
    graph = tp.DependencyGraph().build_dependency(model, (images[:1],))
    importance = FOADImportance(images)
    rows = []
    for group in prunable_groups(graph, []):
        similarity = importance.similarity(group)
        if similarity is None or any(point.side == "output" for point in group.hook_points):
            continue
        channels = len(similarity)
        nearest = similarity.clone().fill_diagonal_(-1).argmax(1)
        popularity = torch.bincount(nearest, minlength=channels)
        hubs = popularity.argsort(descending=True)[: max(1, channels // 20)]
        norms = _norms(model, images, group.hook_points[0])
        rows.append(
            (
                group.name,
                channels,
                len(greedy_select(similarity).kept),
                max(elimination_order(similarity).round),
                f"{popularity[hubs].sum() / channels:.2f}",
                f"{(popularity == 0).float().mean():.2f}",
                f"{norms[hubs].mean() / norms.mean():.2f}",
            )
        )
    return rows


def _norms(model: nn.Module, images: Tensor, point: HookPoint) -> Tensor:
    """Mean norm of each channel's map at the input of its first consumer."""
    seen: list[Tensor] = []
    handle = point.module.register_forward_pre_hook(lambda module, args: seen.append(point.maps(args[0]).clone()))
    with torch.no_grad():
        model(images)
    handle.remove()
    return seen[0].reshape(*seen[0].shape[:2], -1).norm(dim=2).mean(0)


def _faces(root: Path, count: int) -> Tensor:
    """The first faces of the archive, center crop for deep-funneled images, as (N, 3, 112, 96)."""
    width, height = 96 / 0.84, 112 / 0.84
    box = (126 - width / 2, 117 - height / 2, 126 + width / 2, 117 + height / 2)
    faces = []
    with tarfile.open(root / "data" / "lfw-deepfunneled.tar") as archive:
        for member in islice((each for each in archive if each.name.endswith(".jpg")), count):
            content = archive.extractfile(member)
            if content is not None:
                picture = Image.open(io.BytesIO(content.read())).crop(box).resize((96, 112))
                faces.append(np.asarray(picture))
    return (torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() - 127.5) / 128


if __name__ == "__main__":
    main()
