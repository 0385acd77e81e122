"""What the studies share: real images and weights from a user's folder, and pages that name their command."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn

from ..datasets import ImageData
from ..datasets.cifar_npz import read_cifar10
from ..models.foad_resnet import FOADResNet
from ..records.schema import RunRecord
from ..records.store import RecordStore
from ..report.data.estimates import Estimate
from ..runs.weights_file import WeightsFile


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


def resnet56_cifar10(root: Path, count: int) -> tuple[nn.Module, ImageData]:
    """The FOAD authors' ResNet-56, and ``count`` training and 1,017 test images."""
    parts = *cifar_images(root, "train", 0, count), *cifar_images(root, "test", 0, 1017)
    return load_weights(FOADResNet(), root, "resnet56_cifar10"), ImageData(*parts)


def leaderboard_records(leaderboards: Path, suites: Iterable[str]) -> list[RunRecord]:
    """The records in ``leaderboards/SUITE/records`` of some suites; none of a suite without that folder."""
    folders = [leaderboards / suite / "records" for suite in suites]
    return [record for folder in folders if folder.is_dir() for record in RecordStore(folder).all()]


def read_lines(path: Path, key: str) -> list[dict[str, Any]]:
    """The results in a file of JSON lines, of several with one ``key`` the last; none if there is no file."""
    lines = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return list({line[key]: line for line in lines}.values())


def format_estimate(found: Estimate | None, sign: str = "") -> str:
    """A number with one decimal and its interval, if there is one; blank for None."""
    if found is None:
        return ""
    return f"{found.mean:{sign}.1f}" + (f" ± {found.margin:.1f}" if found.margin is not None else "")


def compact_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table without padding; all columns but the first ones are aligned to the right."""
    rules = ["---" if place < left else "---:" for place in range(len(heads))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rules, *rows))


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table of cells that are text already."""
    return str(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


def provenance(command: str) -> str:
    """What wrote a page, and with which libraries."""
    return (
        f"Written by `{command}` with torch {torch.__version__}, torch-pruning {version('torch-pruning')}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}."
    )


def write_page(
    path: Path, title: str, command: str, notes: str, heads: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Write a page with one table, and print the table."""
    text = table(heads, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {title}\n\n{notes}\n\n{text}\n\n{provenance(command)}\n")
    print(text)
