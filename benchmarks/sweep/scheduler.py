"""Starts the jobs of a suite, one after the other or several at once, and keeps what they return."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..records.schema import FailureRecord, RunInputs, RunRecord
from ..records.store import FailureStore, RecordStore, RecordWarning
from ..runs.weights_file import WeightsFile
from ..training.resume import forget_state
from .base_model_store import Base, BaseModelStore
from .executors import Executor, WorkerLostError
from .locks import Locks
from .progress import Progress
from .worker import JobFailure, WorkerContext, do_base, do_run

_POLL = 1.0
"""Seconds between two checks of what another sweep over the same folder has finished."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep did.

    Attributes:
        records: of all finished runs, in the order of the plan.
        executed: how many of them were run now; the others were there.
        failures: the runs that failed now, in the same order.
    """

    records: tuple[RunRecord, ...]
    executed: int
    failures: tuple[FailureRecord, ...] = ()


class Sweep:
    """Does the missing runs of a list, each after the training of its base model.

    Several sweeps may work on one folder at a time: each run is done by one of them, and all get its record.

    Args:
        runs: what to do, in this order.
        folder: gets the records, the failures, the trained base models and the states of unfinished trainings.
        given: the base model's weights, if it is not trained.
        on_record: called with each record that was written or found.
    """

    def __init__(
        self,
        runs: list[RunInputs],
        folder: Path,
        given: WeightsFile | None,
        on_record: Callable[[RunRecord], None] | None = None,
    ) -> None:
        self._on_record = on_record
        self._runs = {run.file_name: run for run in runs}
        self._records = RecordStore(folder / "records")
        self._failures = FailureStore(folder / "failures")
        self._locks = Locks(folder / ".locks")
        self._base_models = BaseModelStore(folder / "base", runs[0].setup, given)
        self._states = folder.absolute() / "states"
        self._pending: set[str] = set()
        self._found: dict[str, RunRecord] = {}
        self._failed: dict[str, FailureRecord] = {}
        self._running: dict[Future[Any], str | int] = {}
        """Names of runs, and seeds whose base models are trained."""
        self._checked_seeds: set[int] = set()
        self._executed = 0

    def forget(self) -> None:
        """Delete the records and base models of the runs."""
        self._records.remove(self._runs.values())
        self._failures.remove(self._runs.values())
        bases = self._base_models.remove({run.base_seed for run in self._runs.values()})
        for name in (*self._runs, *bases):
            forget_state(self._states, name)

    def run(self, executor: Executor, context: WorkerContext, progress: Progress) -> Outcome:
        """Do what is missing.

        Raises:
            WorkerLostError: if a worker process died.
            OSError: if something cannot be written.
        """
        # Checked first: without a folder no result could be kept.
        self._records.folder.mkdir(parents=True, exist_ok=True)
        self._executor, self._progress = executor, progress
        self._context = replace(context, states=self._states)
        self._pending = {name for name in self._runs if not self._load_existing(name)}
        try:
            while self._pending or self._running:
                self._fill()
                self._collect_finished()
                busy = {what for what in self._running.values() if isinstance(what, int)}
                self._base_models.keep(busy | {self._runs[name].base_seed for name in self._pending})
        except BrokenExecutor:
            raise WorkerLostError from None
        finally:
            self._locks.release_all()
        return Outcome(self._ordered(self._found), self._executed, self._ordered(self._failed))

    def _fill(self) -> None:
        while len(self._running) < self._executor.slots and self._start_one():
            pass

    def _collect_finished(self) -> None:
        """Wait for a job to end, but not for long: what another sweep is at may be free before."""
        if not self._running:
            if self._pending:
                time.sleep(_POLL)
            return
        done, _ = wait(self._running, timeout=_POLL, return_when=FIRST_COMPLETED)
        # Results that are ready are kept before a broken pool ends all.
        for future in sorted(done, key=lambda future: isinstance(future.exception(), BrokenExecutor)):
            self._finish(future, self._running.pop(future))

    def _start_one(self) -> bool:
        """Start the next job that no sweep is working on; False if there is none to start now."""
        for seed in sorted({self._runs[name].base_seed for name in self._pending}):
            if seed in self._running.values():
                continue
            base = self._base_models.find(seed)
            if base is None:
                started = self._start_base(seed)
            elif isinstance(base, JobFailure):
                for name in self._of(seed, self._pending):
                    self._fail(name, base)
                continue
            else:
                if seed not in self._checked_seeds:
                    self._drop_stale_runs(seed, base)
                started = self._start_run(seed, base)
            if started:
                return True
        return False

    def _start_base(self, seed: int) -> bool:
        lock = self._base_models.path(seed).name
        if not self._locks.acquire(lock):
            return False
        # Another sweep may have finished it between the check and the lock.
        if self._base_models.find(seed) is not None:
            self._locks.release(lock)
            return self._start_one()
        inputs = self._runs[self._of(seed, self._pending)[0]]
        self._running[self._executor.submit(do_base, inputs.setup, seed, self._context)] = seed
        return True

    def _start_run(self, seed: int, base: Base) -> bool:
        for name in self._of(seed, self._pending):
            if self._locks.acquire(name):
                self._pending.remove(name)
                # Another sweep may have done it since.
                if self._load_existing(name):
                    self._locks.release(name)
                    continue
                self._running[self._executor.submit(do_run, self._runs[name], base.content, self._context)] = name
                return True
            if self._load_existing(name):
                self._pending.remove(name)
        return False

    def _drop_stale_runs(self, seed: int, base: Base) -> None:
        """Do again what stems from other base weights than those that the seed's other runs will have."""
        self._checked_seeds.add(seed)
        for name in self._of(seed, self._found):
            if base.content is not None and self._found[name].base_weights_hash != base.hash:
                warnings.warn(f"{name}: run again, it stems from other base weights", RecordWarning, stacklevel=2)
                del self._found[name]
                self._records.remove([self._runs[name]])
                self._pending.add(name)
                self._progress.again()

    def _finish(self, future: Future[Any], what: str | int) -> None:
        try:
            result = future.result()
        except BrokenExecutor:
            raise
        except Exception as error:
            result = JobFailure.from_error(error)
        if isinstance(what, int):
            self._base_models.add(what, result)
            if not isinstance(result, JobFailure):
                forget_state(self._states, self._base_models.path(what).name)
            self._locks.release(self._base_models.path(what).name)
            return
        if isinstance(result, JobFailure):
            self._fail(what, result)
        else:
            self._records.save(result)
            forget_state(self._states, what)
            self._executed += 1
            self._accept(what, result, f"{result.seconds_total:.1f} s")
        self._locks.release(what)

    def _fail(self, name: str, failed: JobFailure) -> None:
        inputs = self._runs[name]
        self._pending.discard(name)
        self._failed[name] = failed.record(inputs)
        self._failures.save(self._failed[name])
        self._progress.failed(inputs, failed.reason)

    def _load_existing(self, name: str) -> bool:
        record = self._records.find(self._runs[name])
        if record is not None:
            self._accept(name, record, "there already")
        return record is not None

    def _accept(self, name: str, record: RunRecord, note: str) -> None:
        self._found[name] = record
        self._failures.remove([self._runs[name]])
        self._progress.finished(record, note)
        if self._on_record is not None:
            self._on_record(record)

    def _of(self, seed: int, names: Iterable[str | int]) -> list[str]:
        """The given runs whose base model has this seed, in the order of the plan."""
        some = set(names)
        return [name for name, run in self._runs.items() if run.base_seed == seed and name in some]

    def _ordered(self, by_name: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(by_name[name] for name in self._runs if name in by_name)
