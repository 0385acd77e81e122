"""``foad-bench run``, ``check`` and ``report``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..criteria import CRITERIA
from ..datasets import DATASETS
from ..models import MODELS
from ..records.schema import FailureRecord
from ..records.store import RecordStore
from ..records.tensorboard_log import TensorBoardLog
from ..registry.imports import import_all
from ..registry.registry import Registry
from ..suites.loader import find_suite, suite_names
from ..suites.schema import Suite
from ..sweep.executors import Executor, InProcess, WorkerProcesses
from ..sweep.ray_executor import RayCluster
from ..sweep.runner import prepare, run_suite
from ..training.hardware import Hardware


def run(arguments: argparse.Namespace) -> int:
    """Run a suite and show its leaderboard; 1 if a run failed."""
    suite, hardware = _suite(arguments), _hardware(arguments)
    folder = _folder(arguments, suite)
    start = time.perf_counter()
    outcome = run_suite(
        suite,
        folder,
        data_root=arguments.data_root,
        imports=tuple(arguments.imports),
        hardware=hardware,
        executor=_executor(arguments, suite, hardware),
        fresh=arguments.fresh,
        quiet=arguments.quiet,
        save_models=arguments.save_models,
        on_record=None if arguments.log is None else TensorBoardLog(folder / "tensorboard"),
    )
    if not arguments.quiet:
        there = len(outcome.records) - outcome.executed
        print(f"{outcome.executed} runs in {time.perf_counter() - start:.0f} s, {there} were already done\n")
    if outcome.records:
        _show(folder)
    if not outcome.failures:
        return 0
    total = len(outcome.records) + len(outcome.failures)
    print(f"\nfoad-bench: {len(outcome.failures)} of {total} runs failed:", file=sys.stderr)
    for failure in outcome.failures:
        print(f"  {_named(failure)}: {failure.reason}", file=sys.stderr)
    print(f"tracebacks are in {folder / 'failures'}; the same command tries them again", file=sys.stderr)
    return 1


def check(arguments: argparse.Namespace) -> int:
    """Check whether a suite can run, and show how many of its runs are done."""
    suite = _suite(arguments)
    folder = _folder(arguments, suite)
    prepared = prepare(
        suite,
        data_root=arguments.data_root,
        imports=tuple(arguments.imports),
        hardware=_hardware(arguments),
    )
    store = RecordStore(folder / "records")
    there = sum(store.find(inputs) is not None for inputs in prepared.runs)
    print(f"{suite.name}: {suite.description}")
    if prepared.read:
        print(f"base weights: {prepared.read}")
    print(
        f"{len(suite.tables())} tables, {len(suite.criteria)} criteria, {suite.seeds} seeds: {len(prepared.runs)} runs"
    )
    print(f"{there} of them are in {folder}, {len(prepared.runs) - there} are to be done")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Render what a folder holds."""
    _show(arguments.folder)
    return 0


def _show(folder: Path) -> None:
    from ..report import render

    print(render(folder))
    print(f"\nwritten to {folder}")


def _suite(arguments: argparse.Namespace) -> Suite:
    # A suite may name what these register.
    import_all(tuple(arguments.imports))
    changes = [*arguments.set]
    if arguments.seeds is not None:
        changes.append(f"seeds={arguments.seeds}")
    if arguments.weights is not None:
        path = json.dumps(str(arguments.weights.absolute()))
        changes += ["conditions.base_recipe=null", "conditions.base_seed=null", f"conditions.base_weights={path}"]
    suite = find_suite(arguments.suite, changes)
    return suite.smoke() if arguments.smoke else suite


def _folder(arguments: argparse.Namespace, suite: Suite) -> Path:
    folder: Path = arguments.out or Path("results") / suite.name
    return folder


def _hardware(arguments: argparse.Namespace) -> Hardware:
    return Hardware(**{name: getattr(arguments, name) for name in Hardware.model_fields})


def _executor(arguments: argparse.Namespace, suite: Suite, hardware: Hardware) -> Executor:
    if arguments.executor == "ray":
        on_gpu = hardware.device == "cuda"
        return RayCluster(
            arguments.address,
            threads=suite.conditions.threads * (1 if on_gpu else hardware.devices),
            gpus=hardware.devices if on_gpu else 0,
            slots=arguments.workers,
        )
    workers = arguments.workers or 1
    return InProcess() if workers == 1 else WorkerProcesses(workers)


def _named(failure: FailureRecord) -> str:
    setup = failure.inputs.setup
    return f"seed {failure.inputs.seed}  {failure.inputs.criterion.title} ({setup.conditions.target}, {setup.ranking})"


_OWN = "package.module:factory or FILE.py:factory"


def show_list(arguments: argparse.Namespace) -> int:
    """Show what suites can name, and the suites there are, each with its one-liner."""
    import_all(tuple(arguments.imports))
    models = [*_described(MODELS), ("torchvision:NAME", "any classifier of torchvision"), (_OWN, "a function of yours")]
    tables = {
        ("criterion", "what it is based on"): _described(CRITERIA),
        ("model", "what it is"): models,
        ("data set", "what it contains"): [*_described(DATASETS), (_OWN, "a function of yours")],
        ("suite", "what it compares on"): [(name, find_suite(name).description) for name in suite_names()],
    }
    print("\n\n".join(tabulate(rows, headers=headers) for headers, rows in tables.items()))
    return 0


def _described(registry: Registry[Any]) -> list[tuple[str, str]]:
    return [(name, registry.describe(name)) for name in registry.names()]
