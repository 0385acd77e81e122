"""Does the runs of a suite that have no record yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from ...calibration.preflight import describe_inputs
from ..datasets import ImageSource
from ..errors import SettingsError
from ..models import build_model
from ..records.environment import Versions
from ..records.schema import RunInputs, RunRecord, Setup
from ..registry.imports import import_all
from ..runs.prune_to_target import ignored
from ..runs.run import criterion_for
from ..runs.weights_file import WeightsFile
from ..suites.schema import Suite
from ..training.hardware import Hardware
from .executors import Executor, InProcess
from .progress import Progress
from .scheduler import Outcome, Sweep
from .worker import WorkerContext, clear_caches, load_data, read_given


@dataclass(frozen=True, eq=False)
class Prepared:
    """A suite whose settings, data and weights have been checked.

    Attributes:
        suite: what was given.
        runs: in the order in which they are done.
        given: weights of the base model; None if it is trained.
        read: what was read into the base model, in words; empty if it is trained.
        context: where a worker finds the user's things.
    """

    suite: Suite
    runs: list[RunInputs]
    given: WeightsFile | None
    read: str
    context: WorkerContext


def prepare(
    suite: Suite,
    *,
    data_root: Path | None = None,
    imports: tuple[str, ...] = (),
    hardware: Hardware | None = None,
    local: bool = True,
    quiet: bool = False,
) -> Prepared:
    """Load a suite's data and weights, and check its settings.

    Args:
        suite: what to prepare.
        data_root: the user's folder with the data and weights that the suite names.
        imports: modules and Python files that register what the suite names.
        hardware: what networks are trained on; the CPU if None.
        local: whether that is part of this machine, and can be checked.
        quiet: no progress bars in workers.

    Raises:
        SettingsError: if a setting is wrong.
        MissingFileError: if data or weights do not exist.
        WeightsError: if the weights are not those of the model.
        HardwareError: if a device does not exist.
    """
    hardware = hardware or Hardware()
    if local:
        hardware.check()
    import_all(imports)
    clear_caches()
    name = suite.conditions.base_weights
    given = None if name is None else read_given(name, data_root)
    data = load_data(suite.conditions.dataset, data_root, hardware.device if local else "cpu")
    runs = plan(suite, data, Versions.installed(), given, hardware)
    read = _check(runs, data, given)
    return Prepared(suite, runs, given, read, WorkerContext(data_root, imports, quiet=quiet))


def run_suite(
    suite: Suite,
    folder: Path,
    *,
    data_root: Path | None = None,
    imports: tuple[str, ...] = (),
    hardware: Hardware | None = None,
    executor: Executor | None = None,
    fresh: bool = False,
    quiet: bool = False,
    save_models: bool = False,
    write: Callable[[str], None] = tqdm.write,
    on_record: Callable[[RunRecord], None] | None = None,
) -> Outcome:
    """Run a suite and keep every finished run in ``folder``.

    Each record is written as soon as its run ends, so that an interrupted suite can be continued. A run that fails
    leaves its reason in ``failures/`` and is tried again by the next call; the others continue. Several sweeps may work
    on one folder at a time: none does what another is at.

    Args:
        suite: what to run.
        folder: gets ``records/*.json``, ``failures/*.json`` and, where base models are trained, ``base/*.safetensors``.
        data_root: as for :func:`prepare`, as are ``imports`` and ``hardware``.
        imports: as there.
        hardware: as there.
        executor: where runs take place; in this process if None. Closed at the end.
        fresh: delete this suite's records and base models first.
        quiet: no progress bars and no line for each run.
        save_models: write the final network of each run that is done here to ``models/*.safetensors``, for
            :func:`~foad_plugins.load_pruned`.
        write: prints one line.
        on_record: called in this process with each record, as soon as it is written or found.

    Raises:
        WorkerLostError: if a worker process died.
        OSError: if a record cannot be written.
        BenchmarkError: as for :func:`prepare`.
    """
    executor = executor or InProcess()
    try:
        # Bars of several jobs would write over each other.
        alone = executor.slots == 1
        prepared = prepare(
            suite,
            data_root=data_root,
            imports=imports,
            hardware=hardware,
            local=executor.local,
            quiet=quiet or not alone,
        )
        sweep = Sweep(prepared.runs, folder, prepared.given, on_record)
        if fresh:
            sweep.forget()
        if prepared.read and not quiet:
            write(f"base weights: {prepared.read}")
        with Progress(suite.name, prepared.runs, quiet=quiet, write=write) as progress:
            models = folder.absolute() / "models" if save_models else None
            return sweep.run(executor, replace(prepared.context, models=models), progress)
    finally:
        executor.close()


def _check(runs: list[RunInputs], data: ImageSource, given: WeightsFile | None) -> str:
    """A wrong setting should show now and not after minutes of training. Returns which weights were read, in words."""
    model = build_model(runs[0].setup.conditions.model, seed=0)
    read = "" if given is None else given.load_into(model)
    ignored(model, runs[0].setup.conditions.ignored_layers)
    if not data.evaluates_in_detail:
        check_logits(model, data)
    for inputs in runs:
        if inputs.seed == runs[0].seed:
            criterion_for(inputs, data)
    return read


def plan(
    suite: Suite,
    data: ImageSource,
    versions: Versions,
    given: WeightsFile | None = None,
    hardware: Hardware | None = None,
) -> list[RunInputs]:
    """The runs of a suite, seed by seed, so that a broken-off suite leaves whole comparisons.

    Args:
        suite: what to run.
        data: its data.
        versions: of the libraries.
        given: weights of the base model, if it is not trained.
        hardware: what networks are trained on; the CPU if None.
    """
    setups = [
        Setup(
            suite=suite.name,
            kind=suite.kind,
            conditions=conditions,
            data_hash=data.hash,
            weights_hash=given.hash if given else None,
            pruner="prune",
            ranking=ranking,
            reference=suite.reference,
            versions=versions,
            **dict(hardware or Hardware()),
        )
        for conditions, ranking in suite.tables()
    ]
    return [
        RunInputs(setup=setup, criterion=criterion, seed=seed)
        for seed in range(suite.seeds)
        for setup in setups
        for criterion in suite.criteria_for(setup.conditions.target)
    ]


@torch.no_grad()
def check_logits(model: nn.Module, data: ImageSource) -> None:
    """Check that a network gives an image of the data a number for each class, before anything is trained.

    Args:
        model: put on the data's device and into eval mode, in which it is left.
        data: on which it will be evaluated.

    Raises:
        SettingsError: if it does not.
    """
    name, image = type(model).__name__, data.example
    model.to(image.device).eval()
    try:
        output = model(image)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError(
            f"model: {name} does not run on an image of the data ({describe_inputs(image)}): {reason}"
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or output.shape[1] < data.num_classes:
        wanted = f"a tensor (N, {data.num_classes}), a number for each class"
        found = describe_inputs(output) if isinstance(output, torch.Tensor) else type(output).__name__
        raise SettingsError(f"model: {name} must give {wanted}, got {found} for one image")
