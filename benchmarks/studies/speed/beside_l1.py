"""A pruning step by FOAD beside one by L1 in Torch-Pruning's own pruner, in a warm and in a fresh process."""

from __future__ import annotations

import argparse
import copy
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor

from .... import FOADImportance
from ...records.environment import git_commit
from ..common import table
from .timing import cpu_seconds, forward, interleaved, shown

_NETWORKS = ("densenet121", "dla34", "hrnet_w18_small", "ghostnet_100")
_IMAGES = (4, 3, 64, 64)
_NOTES = f"""\
`tp.pruner.MetaPruner(model, images, importance=..., pruning_ratio=0.5)` and one `step()`: tracing, groups, scores and
removal. FOAD's calibration with its forward pass is a part of it. {_IMAGES[0]} images of {_IMAGES[2]}x{_IMAGES[3]},
networks of timm with random weights, the classifier ignored. Times are the processor's time of one thread, medians over
rounds in which the parts ran interleaved; the ratio is the median of the rounds' ratios.

- Warm: copies of the network in one process, after a round that is not counted. The cycles of
  references that a step leaves are collected before the next one, which would otherwise pay for it.
- First: each in a process of its own that has imported torch, timm and Torch-Pruning and run the network once. FOAD's
  time contains the import of this package."""
# Imports nothing of this package for L1.
_FIRST = """\
import sys, time, warnings
import timm, torch, torch_pruning as tp
warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
model, images = timm.create_model(sys.argv[1]).eval(), torch.randn({images})
with torch.no_grad():
    model(images)
start = time.process_time()
if sys.argv[2] == "L1":
    importance = tp.importance.GroupMagnitudeImportance(p=1)
else:
    from foad_plugins import FOADImportance
    importance = FOADImportance(images)
pruner = tp.pruner.MetaPruner(
    model, images, importance=importance, pruning_ratio=0.5, ignored_layers=[model.get_classifier()]
)
pruner.step()
print(time.process_time() - start)
"""


def main() -> None:
    """Measure, write docs/measurements/speed-beside-l1.json, and render speed-beside-l1.md beside it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--networks", nargs="*", default=list(_NETWORKS), help="of timm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/speed-beside-l1.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = {
        "torch": torch.__version__,
        "torch-pruning": version("torch-pruning"),
        "timm": version("timm"),
        "commit": git_commit(Path(__file__)),
        "rows": list(shown(_row(name, options.rounds) for name in options.networks)),
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    write_page(record, options.out.with_suffix(".md"))


def write_page(record: Mapping[str, Any], path: Path) -> None:
    """Render a record of the study as Markdown."""
    heads = ("network", "forward pass", "L1", "FOAD", "ratio", "first L1", "first FOAD", "difference")
    rows = [
        (name, f"{bare:.3f} s", f"{l1:.2f} s", f"{foad:.2f} s", f"{ratio:.2f}", *(f"{one:.2f} s" for one in first))
        for name, bare, l1, foad, ratio, *first in ((*row, row[-1] - row[-2]) for row in record["rows"])
    ]
    commit = f", commit {record['commit'][:12]}" if record["commit"] else ""
    made = (
        f"Written by `python -m foad_plugins.benchmarks.studies.speed.beside_l1` with torch {record['torch']}, "
        f"torch-pruning {record['torch-pruning']}, timm {record['timm']}{commit}."
    )
    path.write_text(f"# A step beside L1's\n\n{_NOTES}\n\n{table(heads, rows)}\n\n{made}\n")


def _row(name: str, rounds: int) -> tuple[str, float, float, float, float, float, float]:
    """Seconds of a forward pass, of the steps, their ratio, and seconds of the first steps."""
    import timm

    torch.manual_seed(0)
    model, images = timm.create_model(name).eval(), torch.randn(_IMAGES)
    warm = {
        "forward": lambda: partial(forward, model, [images]),
        "L1": lambda: _step(model, images, tp.importance.GroupMagnitudeImportance(p=1)),
        "FOAD": lambda: _step(model, images, FOADImportance(images)),
    }
    bare, l1, foad = interleaved(warm, rounds, _prepared_seconds).values()
    first = interleaved({one: partial(_first, name, one) for one in ("L1", "FOAD")}, rounds, _returned)
    ratio = median(one / other for one, other in zip(foad, l1, strict=True))
    return name, median(bare), median(l1), median(foad), ratio, median(first["L1"]), median(first["FOAD"])


def _step(model: Any, images: Tensor, importance: tp.importance.Importance) -> Callable[[], None]:
    """A step on a copy of the model, which belongs to no step."""
    model = copy.deepcopy(model)

    def run() -> None:
        ignored = [model.get_classifier()]
        pruner = tp.pruner.MetaPruner(model, images, importance=importance, pruning_ratio=0.5, ignored_layers=ignored)
        pruner.step()

    return run


def _prepared_seconds(prepare: Callable[[], object]) -> float:
    """What a run takes after it has been prepared; cycles of references of earlier ones are no part of it."""
    run = prepare()
    assert callable(run)
    gc.collect()
    return cpu_seconds(run)


def _returned(part: Callable[[], object]) -> float:
    seconds = part()
    assert isinstance(seconds, float)
    return seconds


def _first(name: str, criterion: str) -> float:
    command = [sys.executable, "-c", _FIRST.format(images=_IMAGES), name, criterion]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
