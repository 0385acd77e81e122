"""What the studies share: real images and weights from a user's folder, and pages that name their command."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor, nn

from ..datasets.cifar_npz import read_cifar10
from ..runs.weights_file import WeightsFile

__all__ = ["arguments", "cifar_images", "load_weights", "write_page"]


def arguments(description: str, page: str) -> argparse.ArgumentParser:
    """A parser with the options every study has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with data/ and weights/")
    parser.add_argument("--out", type=Path, default=Path("docs/measurements") / page, help="Markdown page to write")
    return parser


def cifar_images(root: Path, part: str, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Normalized images (N, 3, 32, 32) and labels (N,) of ``data/cifar10_lossless.npz``; part is train or test."""
    images, labels = read_cifar10(root / "data" / "cifar10_lossless.npz", part)
    return images[start:stop], labels[start:stop]


def load_weights(model: nn.Module, root: Path, name: str) -> nn.Module:
    """Load ``weights/NAME.safetensors`` strictly, in the model's precision, and put the model into eval mode."""
    WeightsFile.read(root / "weights" / f"{name}.safetensors").load_into(model)
    return model.eval()


def write_page(
    path: Path, title: str, command: str, notes: str, heads: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Write a page with one table, and print the table."""
    table = tabulate(rows, heads, tablefmt="github", disable_numparse=True)
    made = (
        f"Written by `{command}` with torch {torch.__version__}, torch-pruning {version('torch-pruning')}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}."
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {title}\n\n{notes}\n\n{table}\n\n{made}\n")
    print(table)
