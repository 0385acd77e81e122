"""Runs what a suite asks for and is not there yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .datasets import ImageSource
from .environment import Versions
from .evaluation import check_logits
from .executors import Executor, InProcess
from .hardware import Hardware
from .jobs import Place, load_data, read_again, read_given
from .models import build_model
from .plan import plan
from .plugins import import_all
from .progress import Progress
from .pruning import ignored
from .records import RunInputs
from .single_run import criterion_for
from .suite import Suite
from .sweep import Outcome, Sweep
from .weights import WeightsFile

__all__ = ["Outcome", "Prepared", "prepare", "run_suite"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A suite whose settings, data and weights were seen to fit together.

    Attributes:
        suite: what was given.
        runs: in the order in which they are done.
        given: weights of the base model; None if it is trained.
        place: where a worker finds the user's things.
    """

    suite: Suite
    runs: list[RunInputs]
    given: WeightsFile | None
    place: Place


def prepare(
    suite: Suite,
    *,
    data_root: Path | None = None,
    imports: tuple[str, ...] = (),
    hardware: Hardware | None = None,
    local: bool = True,
    quiet: bool = False,
) -> Prepared:
    """Load a suite's data and weights, and see that nothing is wrong with its settings.

    Args:
        suite: what to prepare.
        data_root: folder of the user's own with the data and weights that the suite names.
        imports: modules and Python files that register what the suite names.
        hardware: what networks are trained on; the CPU if None.
        local: whether that is part of this machine, and can be looked for.
        quiet: no progress bars in workers.

    Raises:
        SettingsError: if a setting is wrong.
        MissingFileError: if data or weights are not there.
        WeightsError: if the weights are not those of the model.
        HardwareError: if a device is not there.
    """
    hardware = hardware or Hardware()
    if local:
        hardware.check()
    import_all(imports)
    read_again()
    name = suite.conditions.base_weights
    given = None if name is None else read_given(name, data_root)
    data = load_data(suite.conditions.dataset, data_root, hardware.device if local else "cpu")
    runs = plan(suite, data, Versions.installed(), given, hardware)
    _check(runs, data, given)
    return Prepared(suite, runs, given, Place(data_root, imports, quiet=quiet))


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
    say: Callable[[str], None] = tqdm.write,
) -> Outcome:
    """Run a suite and keep every finished run in ``folder``.

    Each record is written as soon as its run ends, so that an interrupted suite goes on where it was. A run that fails
    leaves its reason in ``failures/`` and is tried again by the next call; the others go on. Several sweeps may work
    on one folder at a time: none does what another is at.

    Args:
        suite: what to run.
        folder: gets ``records/*.json``, ``failures/*.json`` and, where base models are trained, ``base/*.safetensors``.
        data_root: as for :func:`prepare`, as are ``imports`` and ``hardware``.
        imports: modules and Python files.
        hardware: what networks are trained on.
        executor: where runs take place; in this process if None. Closed at the end.
        fresh: delete this suite's records and base models first.
        quiet: no progress bars and no line for each run.
        say: prints one line.

    Raises:
        SettingsError: if a setting is wrong.
        MissingFileError: if data or weights are not there.
        WeightsError: if the weights are not those of the model.
        HardwareError: if a device is not there.
        WorkerLostError: if a worker process died.
        OSError: if a record cannot be written.
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
        sweep = Sweep(prepared.runs, folder, prepared.given)
        if fresh:
            sweep.forget()
        with Progress(suite.name, prepared.runs, quiet=quiet, say=say) as progress:
            return sweep.run(executor, prepared.place, progress)
    finally:
        executor.close()


def _check(runs: list[RunInputs], data: ImageSource, given: WeightsFile | None) -> None:
    """A wrong setting should show now and not after minutes of training."""
    model = build_model(runs[0].setup.conditions.model, seed=0)
    if given is not None:
        given.load_into(model)
    ignored(model, runs[0].setup.conditions.ignored_layers)
    if not data.evaluates_in_detail:
        check_logits(model, data)
    for inputs in runs:
        if inputs.seed == runs[0].seed:
            criterion_for(inputs, data)
