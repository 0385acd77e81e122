"""Progress of a sweep: a bar, and a line for each run."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from tqdm import tqdm

from ..records.schema import RunInputs, RunRecord


class Progress:
    """A bar over all runs, and a line for each that is done.

    Args:
        name: label of the bar.
        runs: all of them.
        quiet: print nothing. There is no bar either where the output is not a terminal.
        write: prints one line.
    """

    def __init__(self, name: str, runs: list[RunInputs], *, quiet: bool, write: Callable[[str], None]) -> None:
        self._quiet, self._write = quiet, write
        self._bar: Any = tqdm(total=len(runs), desc=name, unit="run", disable=quiet or None)
        self._many = len({run.setup.key for run in runs}) > 1

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def finished(self, record: RunRecord, note: str) -> None:
        """A run has a record."""
        accuracy = record.accuracy
        adjusted = "" if accuracy.one_shot_bn is None else f", BN adjusted {accuracy.one_shot_bn:.2%}"
        tuned = "" if accuracy.fine_tuned is None else f", fine-tuned {accuracy.fine_tuned:.2%}"
        text = f"base {accuracy.base:.2%}, before fine-tuning {accuracy.one_shot:.2%}{adjusted}{tuned}  ({note})"
        self._tell(record.inputs, text)

    def failed(self, inputs: RunInputs, reason: str) -> None:
        """A run has none."""
        self._tell(inputs, f"FAILED: {reason}")

    def again(self) -> None:
        """A run that was counted is to be done again."""
        self._bar.update(-1)

    def _tell(self, inputs: RunInputs, text: str) -> None:
        self._bar.update()
        if self._quiet:
            return
        setup = inputs.setup
        table = f"{setup.conditions.target}, {setup.ranking}, {setup.conditions.calibration_images} images  "
        self._write(f"seed {inputs.seed}  {inputs.criterion.title:<19} {table if self._many else ''}{text}")
