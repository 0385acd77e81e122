"""Runs what a suite asks for and is not there yet."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .base_models import base_path, read_base
from .claims import Claims
from .datasets import ImageSource
from .environment import Versions
from .errors import BenchmarkError
from .executors import Executor, InProcess
from .files import write_atomically
from .hardware import Hardware
from .jobs import BaseResult, Failed, Place, do_base, do_run, load_data, read_given
from .models import build_model
from .plan import plan
from .plugins import import_all
from .pruning import ignored
from .records import FailureRecord, RunInputs, RunRecord
from .single_run import criterion_for
from .store import FailureStore, RecordStore, RecordWarning
from .suite import Suite
from .training_state import forget_progress, kept_progress
from .weights import WeightsFile

__all__ = ["Outcome", "run_suite"]

_POLL = 1.0
"""Seconds between two looks at what another sweep over the same folder has finished."""


@dataclass(frozen=True)
class Outcome:
    """What a call of :func:`run_suite` did.

    Attributes:
        records: of all finished runs of the suite, in the order of its plan.
        executed: how many of them were run now; the others were there.
        failures: the runs that failed now.
    """

    records: tuple[RunRecord, ...]
    executed: int
    failures: tuple[FailureRecord, ...] = ()


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
        data_root: folder of the user's own with the data and weights that the suite names.
        imports: modules and Python files that register what the suite names.
        hardware: what networks are trained on; the CPU if None.
        executor: where runs take place; in this process if None. Closed at the end.
        fresh: delete this suite's records and base models first.
        quiet: no progress bars and no line for each run.
        say: prints one line.

    Raises:
        SettingsError: if a setting is wrong.
        MissingFileError: if data or weights are not there.
        WeightsError: if the weights are not those of the model.
        HardwareError: if a device is not there.
        OSError: if a record cannot be written.
        BenchmarkError: if a worker process died.
    """
    executor = executor or InProcess()
    try:
        hardware = hardware or Hardware()
        hardware.check()
        import_all(imports)
        given_name = suite.conditions.base_weights
        given = read_given(given_name, data_root) if given_name is not None else None
        data = load_data(suite.conditions.dataset, data_root, hardware.device)
        runs = plan(suite, data, Versions.installed(), given, hardware)
        _check(runs, data, given)
        progress = (folder / "progress").absolute()
        place = Place(data_root, imports, progress=progress, quiet=quiet or executor.slots > 1)
        sweep = _Sweep(suite, folder, runs, place, executor, given, quiet, say)
        if fresh:
            sweep.forget()
        return sweep.run()
    finally:
        executor.close()


def _check(runs: list[RunInputs], data: ImageSource, given: WeightsFile | None) -> None:
    """A wrong setting should show now and not after minutes of training."""
    model = build_model(runs[0].setup.conditions.model, seed=0)
    if given is not None:
        given.load_into(model)
    ignored(model, runs[0].setup.conditions.ignored_layers)
    for inputs in runs:
        if inputs.seed == runs[0].seed:
            criterion_for(inputs, data)


@dataclass(eq=False)
class _Sweep:
    """One call of :func:`run_suite`, all checked."""

    suite: Suite
    folder: Path
    runs: list[RunInputs]
    place: Place
    executor: Executor
    given: WeightsFile | None
    quiet: bool
    say: Callable[[str], None]
    found: dict[str, RunRecord] = field(default_factory=dict)
    failures: list[FailureRecord] = field(default_factory=list)
    executed: int = 0

    def __post_init__(self) -> None:
        self.store = RecordStore(self.folder / "records")
        self.failed = FailureStore(self.folder / "failures")
        self.claims = Claims(self.folder / ".claims")
        self.waiting: list[RunInputs] = []
        self.flying: dict[Future[Any], RunInputs | int] = {}
        self.bases: dict[int, BaseResult | None] = {}
        self.bar: Any = None

    def forget(self) -> None:
        """Delete the records and base models of the suite's runs."""
        self.store.remove(self.runs)
        self.failed.remove(self.runs)
        for seed in range(self.suite.seeds) if self.given is None else ():
            self._base_path(seed).unlink(missing_ok=True)

    def run(self) -> Outcome:
        """Do what is missing."""
        with tqdm(total=len(self.runs), desc=self.suite.name, unit="run", disable=self.quiet or None) as self.bar:
            for inputs in self.runs:
                if not self._is_there(inputs):
                    self.waiting.append(inputs)
            try:
                with kept_progress(self.place.progress if self.waiting else None):
                    self._work()
            finally:
                self.claims.give_back_all()
        records = tuple(self.found[name] for name in (run.file_name for run in self.runs) if name in self.found)
        return Outcome(records, self.executed, tuple(self.failures))

    def _work(self) -> None:
        while self.waiting or self.flying:
            while len(self.flying) < self.executor.slots and self._start_one():
                pass
            if self.flying:
                # What another sweep is at may be free before any of ours ends.
                done, _ = wait(self.flying, timeout=_POLL, return_when=FIRST_COMPLETED)
                for future in done:
                    self._finish(future, self.flying.pop(future))
            elif self.waiting:
                time.sleep(_POLL)

    def _start_one(self) -> bool:
        """Start the next job that nobody is at; False if there is none to start now."""
        for inputs in list(self.waiting):
            if not self._find_base(inputs):
                if self._start_base(inputs):
                    return True
                continue
            base = self.bases[inputs.seed]
            if isinstance(base, Failed):
                self.waiting.remove(inputs)
                self._fail(inputs, base)
            elif self.claims.take(inputs.file_name):
                self.waiting.remove(inputs)
                if self._is_there(inputs):
                    self.claims.give_back(inputs.file_name)
                    continue
                self.flying[self.executor.submit(do_run, inputs, base, self.place)] = inputs
                return True
            elif self._is_there(inputs):
                self.waiting.remove(inputs)
        return False

    def _find_base(self, inputs: RunInputs) -> bool:
        """Whether the base model of a run's seed is at hand: given, or in its file, or known to have failed."""
        if inputs.seed in self.bases:
            return True
        if inputs.seed in self.flying.values():
            return False
        if self.given is not None:
            self.bases[inputs.seed] = None
            return True
        weights = read_base(path := self._base_path(inputs.seed), inputs.setup)
        if weights is None:
            return False
        self._use_base(inputs.seed, path.read_bytes(), weights)
        return True

    def _use_base(self, seed: int, content: bytes, weights: WeightsFile) -> None:
        self.bases[seed] = content
        for inputs in self.runs:
            record = self.found.get(inputs.file_name)
            if inputs.seed == seed and record is not None and record.base_weights_hash != weights.hash:
                message = f"{inputs.file_name}: run again, it stems from other base weights"
                warnings.warn(message, RecordWarning, stacklevel=2)
                del self.found[inputs.file_name]
                self.store.remove([inputs])
                self.waiting.append(inputs)
                self.bar.update(-1)

    def _start_base(self, inputs: RunInputs) -> bool:
        """Start to train the base model of a run's seed, unless that is under way, here or in another sweep."""
        name = self._base_path(inputs.seed).name
        if inputs.seed in self.flying.values() or not self.claims.take(name):
            return False
        # Another sweep may have finished it between the look and the claim.
        if self._find_base(inputs):
            self.claims.give_back(name)
            return False
        self.flying[self.executor.submit(do_base, inputs.setup, inputs.seed, self.place)] = inputs.seed
        return True

    def _finish(self, future: Future[Any], what: RunInputs | int) -> None:
        try:
            result = future.result()
        except BrokenProcessPool:
            raise BenchmarkError(
                "a worker process died, perhaps for want of memory; finished runs are kept, the same command goes on"
            ) from None
        except Exception as error:
            result = Failed.by(error)
        if isinstance(what, int):
            path = self._base_path(what)
            if isinstance(result, Failed):
                self.bases[what] = Failed(f"base model: {result.reason}", result.details)
            else:
                write_atomically(path, result)
                forget_progress(self.place.progress, path.name)
                self._use_base(what, result, WeightsFile.parse(result, path.name))
            self.claims.give_back(path.name)
            return
        if isinstance(result, Failed):
            self._fail(what, result)
        else:
            self.store.save(result)
            forget_progress(self.place.progress, what.file_name)
            self.failed.remove([what])
            self.executed += 1
            self._enter(what, result, f"{result.seconds_total:.1f} s")
        self.claims.give_back(what.file_name)

    def _fail(self, inputs: RunInputs, failed: Failed) -> None:
        record = failed.record(inputs)
        self.failed.save(record)
        self.failures.append(record)
        self._tell(inputs, f"FAILED: {failed.reason}")

    def _is_there(self, inputs: RunInputs) -> bool:
        record = self.store.find(inputs)
        if record is not None:
            self._enter(inputs, record, "there already")
        return record is not None

    def _enter(self, inputs: RunInputs, record: RunRecord, note: str) -> None:
        self.found[inputs.file_name] = record
        self._tell(inputs, f"{_stages(record)}  ({note})")

    def _tell(self, inputs: RunInputs, text: str) -> None:
        self.bar.update()
        if not self.quiet:
            self.say(f"seed {inputs.seed}  {inputs.criterion.title:<19} {text}")

    def _base_path(self, seed: int) -> Path:
        return base_path(self.folder / "base", self.runs[0].setup, seed)


def _stages(record: RunRecord) -> str:
    accuracy = record.accuracy
    moved = "" if accuracy.one_shot_bn is None else f", BN moved {accuracy.one_shot_bn:.2%}"
    tuned = "" if accuracy.fine_tuned is None else f", fine-tuned {accuracy.fine_tuned:.2%}"
    return f"base {accuracy.base:.2%}, one-shot {accuracy.one_shot:.2%}{moved}{tuned}"
