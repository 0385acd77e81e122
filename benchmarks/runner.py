"""Runs what a suite asks for and is not there yet."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from .base_models import BaseModel, base_model, base_path
from .data_root import DataRoot
from .datasets import ImageData, load_dataset
from .environment import Versions
from .records import RunInputs, RunRecord, Setup
from .single_run import criterion_for, run_one
from .store import RecordStore, RecordWarning
from .suite import Suite
from .weights import WeightsFile

__all__ = ["Outcome", "plan", "run_suite"]


@dataclass(frozen=True)
class Outcome:
    """What a call of :func:`run_suite` did.

    Attributes:
        records: of all runs of the suite, by seed and then in the suite's order of criteria.
        executed: how many of them were run now; the others were there.
    """

    records: tuple[RunRecord, ...]
    executed: int


def plan(suite: Suite, data: ImageData, versions: Versions, given: WeightsFile | None = None) -> list[RunInputs]:
    """The runs of a suite, seed by seed, so that a broken-off suite leaves whole comparisons.

    Args:
        suite: what to run.
        data: its data.
        versions: of the libraries.
        given: weights of the base model, if it is not trained.
    """
    setup = Setup(
        suite=suite.name,
        conditions=suite.conditions,
        data_hash=data.hash,
        weights_hash=given.hash if given else None,
        pruner="prune",
        reference=suite.reference,
        versions=versions,
    )
    return [
        RunInputs(setup=setup, criterion=criterion, seed=seed)
        for seed in range(suite.seeds)
        for criterion in suite.criteria
    ]


def run_suite(
    suite: Suite,
    folder: Path,
    *,
    data_root: Path | None = None,
    fresh: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = tqdm.write,
) -> Outcome:
    """Run a suite in this process and keep every finished run in ``folder``.

    Each record is written as soon as its run ends, so that an interrupted suite goes on where it was.

    Args:
        suite: what to run.
        folder: gets ``records/*.json`` and, where base models are trained, ``base/*.pt``.
        data_root: folder of the user's own with the data and weights that the suite names.
        fresh: delete this suite's records and base models first.
        quiet: no progress bars and no line for each run.
        say: prints one line.

    Raises:
        ValueError: if the suite's settings cannot be met, an unreachable FLOPs target for one.
        MissingFileError: if data or weights are not there.
        WeightsError: if the weights are not those of the model.
        TrainingDivergedError: if a training fails.
    """
    root, base_weights = DataRoot(data_root), suite.conditions.base_weights
    given = WeightsFile.read(root.file(base_weights)) if base_weights is not None else None
    data = load_dataset(suite.conditions.dataset, root)
    runs = plan(suite, data, Versions.installed(), given)
    for inputs in runs[: len(suite.criteria)]:
        # A wrong setting should show now and not after minutes of training.
        criterion_for(inputs, data)
    store = RecordStore(folder / "records")
    if fresh:
        store.remove(runs)
        for seed in range(suite.seeds) if given is None else ():
            base_path(folder / "base", runs[0].setup, seed).unlink(missing_ok=True)
    records: list[RunRecord] = []
    executed = 0
    progress = tqdm(total=len(runs), desc=suite.name, unit="run", disable=quiet or None)
    with _threads(suite.conditions.threads), progress as bar:
        for seed in range(suite.seeds):
            of_seed = [inputs for inputs in runs if inputs.seed == seed]
            found = [store.find(inputs) for inputs in of_seed]
            base: BaseModel | None = None
            if None in found:
                base = base_model(folder / "base", runs[0].setup, data, seed, given=given, quiet=quiet)
                found = [_on_base(record, base) for record in found]
            for inputs, record in zip(of_seed, found, strict=True):
                note = "  (there already)"
                if record is None:
                    assert base is not None
                    record = run_one(inputs, data, base, quiet=quiet)
                    store.save(record)
                    executed += 1
                    note = f"  ({record.seconds_total:.1f} s)"
                records.append(record)
                bar.update()
                if not quiet:
                    say(_summary(record) + note)
    return Outcome(tuple(records), executed)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _on_base(record: RunRecord | None, base: BaseModel) -> RunRecord | None:
    """The record, unless it stems from other base weights than the runs it would stand beside."""
    if record is not None and record.base_weights_hash != base.weights_hash:
        message = f"{record.inputs.file_name}: run again, it stems from other base weights"
        warnings.warn(message, RecordWarning, stacklevel=3)
        return None
    return record


def _summary(record: RunRecord) -> str:
    accuracy = record.accuracy
    moved = "" if accuracy.one_shot_bn is None else f", BN moved {accuracy.one_shot_bn:.2%}"
    tuned = "" if accuracy.fine_tuned is None else f", fine-tuned {accuracy.fine_tuned:.2%}"
    return (
        f"seed {record.inputs.seed}  {record.inputs.criterion.title:<19} "
        f"base {accuracy.base:.2%}, one-shot {accuracy.one_shot:.2%}{moved}{tuned}"
    )
