"""The work of a worker on any machine: train a base model, or do one run. All that it needs is passed as arguments."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path

import torch

from ..datasets import ImageSource, load_dataset
from ..datasets.data_root import DataRoot
from ..errors import BenchmarkError
from ..records.environment import Environment
from ..records.schema import FailureRecord, RunInputs, RunRecord, Setup
from ..registry.imports import import_all
from ..registry.registry import Spec
from ..runs.base_models import BaseModel, load_base, train_base
from ..runs.run import run_one
from ..runs.weights_file import WeightsFile

_LONGEST = 500
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class WorkerContext:
    """What a worker must know to find the user's things.

    Attributes:
        data_root: folder with the user's data and weights, the same path for every worker; None for none.
        imports: the user's modules and Python files that register what the suite names.
        folder: base of relative paths; that of this process, if it does not exist.
        states: folder of the states of unfinished trainings; None for none.
        models: folder for the final networks; None keeps none.
        quiet: no progress bars.
    """

    data_root: Path | None = None
    imports: tuple[str, ...] = ()
    folder: Path = field(default_factory=Path.cwd)
    states: Path | None = None
    models: Path | None = None
    quiet: bool = False

    def enter(self) -> None:
        """Make this process find them.

        Raises:
            SettingsError: if an import fails.
        """
        if self.folder != Path.cwd() and self.folder.is_dir():
            os.chdir(self.folder)
        import_all(self.imports)


@dataclass(frozen=True)
class JobFailure:
    """Why a job has no result.

    Attributes:
        reason: the error in one line.
        details: its traceback.
    """

    reason: str
    details: str

    @classmethod
    def from_error(cls, error: BaseException) -> JobFailure:
        """From an error that was caught."""
        text = _writable("".join(traceback.format_exception(error)))
        # The harness's own errors name what to change; any other needs its type to be understood.
        known: BaseException | None = error
        while known is not None and not isinstance(known, BenchmarkError):
            known = known.__cause__
        message = " ".join(_COLOR.sub("", str(known or error)).split()) or "no message"
        reason = _writable(message if known else f"{type(error).__name__}: {message}")
        return cls(reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}...", text)

    def record(self, inputs: RunInputs) -> FailureRecord:
        """A record of the run that failed so."""
        now = datetime.now(timezone.utc)
        return FailureRecord(
            inputs=inputs, environment=Environment.current(), created=now, reason=self.reason, details=self.details
        )


BaseResult = bytes | JobFailure
"""A safetensors file with the weights, or why there are none."""


def load_data(spec: Spec, data_root: Path | None, device: str) -> ImageSource:
    """The data, once in a process."""
    return _data(spec.model_dump_json(), data_root, device)


def clear_caches() -> None:
    """Read data and weights again, because their files may have changed since this process read them."""
    _data.cache_clear()
    read_given.cache_clear()


@lru_cache(maxsize=1)
def _data(spec: str, data_root: Path | None, device: str) -> ImageSource:
    return load_dataset(Spec.model_validate_json(spec), DataRoot(data_root)).to(device)


@lru_cache(maxsize=1)
def read_given(name: str, data_root: Path | None) -> WeightsFile:
    """Weights under the data root, once in a process."""
    return WeightsFile.read(DataRoot(data_root).file(name))


def do_base(setup: Setup, seed: int, context: WorkerContext) -> BaseResult:
    """Train the base model of a seed."""
    try:
        context.enter()
        with _threads(setup.conditions.threads):
            return train_base(setup, _data_of(setup, context), seed, states=context.states, quiet=context.quiet)
    except (Exception, SystemExit) as error:
        return JobFailure.from_error(error)


def do_run(inputs: RunInputs, weights: bytes | None, context: WorkerContext) -> RunRecord | JobFailure:
    """Do one run on a base model, whatever happens.

    Args:
        inputs: what to run.
        weights: of the base model, a safetensors file; None if they are given under the data root.
        context: where the user's things are.
    """
    try:
        context.enter()
        with _threads(inputs.setup.conditions.threads):
            data = _data_of(inputs.setup, context)
            base = _base(inputs.setup, weights, context)
            return run_one(inputs, data, base, states=context.states, models=context.models, quiet=context.quiet)
    # A criterion may call sys.exit, which must not end the sweep.
    except (Exception, SystemExit) as error:
        return JobFailure.from_error(error)


def _data_of(setup: Setup, context: WorkerContext) -> ImageSource:
    data = load_data(setup.conditions.dataset, context.data_root, setup.device)
    if data.hash != setup.data_hash:
        raise BenchmarkError(f"{setup.conditions.dataset.name}: this worker finds other data than the suite began with")
    return data


_BASES: dict[str, BaseModel] = {}


def _base(setup: Setup, weights: bytes | None, context: WorkerContext) -> BaseModel:
    """The base model of a run; the last one is kept, as runs of a seed follow one another."""
    if weights is not None:
        file = WeightsFile.parse(weights, "base model")
    else:
        assert setup.conditions.base_weights is not None
        file = read_given(setup.conditions.base_weights, context.data_root)
    conditions = setup.conditions
    key = "|".join(
        [file.hash, conditions.model.model_dump_json(), setup.data_hash, setup.device, str(conditions.threads)]
    )
    if key not in _BASES:
        _BASES.clear()
        _BASES[key] = load_base(setup, file, _data_of(setup, context))
    return _BASES[key]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _writable(text: str) -> str:
    """As UTF-8 can hold it: the name of a file may have bytes that are no text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
