"""What tests of whole sweeps share: a suite in YAML, things of a user's own, and the command line as a process."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import torch
from tqdm import tqdm

from foad_plugins.benchmarks import report
from foad_plugins.benchmarks.cli import entry as cli
from foad_plugins.benchmarks.records.schema import RunRecord
from foad_plugins.benchmarks.records.store import RecordStore

PLUGIN = '''\
"""A network that stops where a test wants to break in, and criteria that go wrong."""

import time
from pathlib import Path

import torch

from foad_plugins.benchmarks.criteria import register_criterion
from foad_plugins.benchmarks.models import DigitsVGG, register_model

HERE = Path(__file__).parent


def hold(name):
    """Say that a place was reached, and stay there, if the test has left a note to do so."""
    if (HERE / name).exists():
        (HERE / f"{name}-reached").touch()
        time.sleep(600)


@register_model("held-vgg")
class Held(DigitsVGG):
    """A small network that may hold while it is trained."""

    def forward(self, images):
        if self.training:
            hold("training")
        return super().forward(images)


@register_criterion("held")
def held(group):
    """L1-norm, once it is let go."""
    hold("scoring")
    return group[0].dep.layer.weight.detach().flatten(1).abs().sum(1)
'''

SUITE = """\
name: tiny
description: for tests
conditions:
  dataset: {name: digits}
  model: {name: held-vgg, settings: {widths: [4, 6, 8]}}
  base_recipe: {epochs: 1, learning_rate: 0.05, batch_size: 256}
  finetune_recipe: {epochs: 1, learning_rate: 0.02, batch_size: 256}
  calibration_images: 16
  tolerance: 0.1
  latency_batches: []
targets:
  - flops_reduction: 0.4
criteria:
  - name: l1
  - name: held
  - name: foad
seeds: 2
"""

_CONTEXT = multiprocessing.get_context("forkserver")
# Imported once; every process is a fork of one that has done nothing yet.
_CONTEXT.set_forkserver_preload(["tests.benchmarks.sweeps", "foad_plugins.benchmarks.cli.commands"])


def lasting(record: RunRecord) -> dict[str, Any]:
    """A record without what differs from one repetition to the next."""
    content = record.model_dump(mode="json")
    for name in ("created", "environment", "latency", "peak_bytes_to_score", "seconds_to_score", "seconds_total"):
        del content[name]
    for epoch in content["epochs"]:
        del epoch["seconds"]
    return content


@dataclass
class Sweep:
    """A folder with a suite and a user's module, and ``foad-bench run`` on it.

    Attributes:
        folder: where the commands run.
    """

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "mine.py").write_text(PLUGIN)
        (self.folder / "tiny.yaml").write_text(SUITE)

    def start(self, *options: str, out: str = "out") -> BaseProcess:
        """``foad-bench run`` in a process of its own."""
        arguments = ["run", "tiny.yaml", "--import", "mine.py", "--out", out, *options]
        process = _CONTEXT.Process(target=_command, args=(arguments, self.folder))
        process.start()
        return process

    def run(self, *options: str, out: str = "out") -> int:
        """The same to its end; the exit status."""
        process = self.start(*options, out=out)
        process.join(300)
        assert process.exitcode is not None, self.output()
        return process.exitcode

    def hold(self, place: str) -> None:
        """Let the next sweep stay at a place."""
        (self.folder / place).touch()

    def reached(self, place: str) -> None:
        """Wait until it is there, and let later ones pass."""
        note = self.folder / f"{place}-reached"
        wait_until(note.exists, self.output)
        note.unlink()
        (self.folder / place).unlink()

    def records(self, out: str = "out") -> list[RunRecord]:
        """What is finished."""
        return RecordStore(self.folder / out / "records").all()

    def output(self) -> str:
        """All that the commands have printed so far."""
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""


def end(process: BaseProcess, number: int = signal.SIGKILL) -> int:
    """Send a process a signal; the exit status, negative if the signal itself ended it."""
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def workers_of(process: BaseProcess) -> list[psutil.Process]:
    """The worker processes that a sweep has started."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def wait_until(condition: Callable[[], object], explain: Callable[[], str] = str, seconds: float = 240) -> None:
    """Look again and again."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, explain()
        time.sleep(0.05)


def bar_lock() -> str:
    """What kind of lock progress bars have in this process."""
    return type(tqdm.get_lock()).__name__


def _command(arguments: list[str], folder: Path) -> None:
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # Ray gives its workers the lowest priority, which on a busy machine means none.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    torch.set_num_threads(1)
    # Each run collects garbage, and should not go through all that is imported.
    gc.freeze()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What comes after the sweep takes longer than the sweep, and is tested elsewhere.
    report.render = lambda folder: f"report of {folder}"
    sys.exit(cli.main(arguments))
