"""Fine-tuning of finished runs as scalars that TensorBoard shows."""

from __future__ import annotations

import shutil
from itertools import accumulate
from pathlib import Path

from ...utils.extras import missing_extra
from ..errors import SettingsError
from .schema import RunRecord


class TensorBoardLog:
    """Writes one folder of events for each record: loss and accuracy by epoch, and time at which each epoch ended.

    The accuracy of step 0 is that before fine-tuning. Shares of parameters and FLOPs that are left are scalars too.

    Args:
        folder: gets a folder for each run, named as its record.

    Raises:
        SettingsError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        missing = missing_extra("tensorboard", {"tensorboard": "tensorboard"})
        if missing is not None:
            raise SettingsError(f"--log tensorboard: {missing}")
        self._folder = folder

    def __call__(self, record: RunRecord) -> None:
        """Write the events of a record, if they are not there already."""
        # Imported here, because it takes a second that only this option needs.
        from torch.utils.tensorboard import SummaryWriter

        folder, created = self._folder / Path(record.inputs.file_name).stem, record.created.timestamp()
        if any(file.stat().st_mtime >= created for file in folder.glob("events.*")):
            return
        shutil.rmtree(folder, ignore_errors=True)
        spent = list(accumulate((epoch.seconds for epoch in record.epochs), initial=0.0))
        start = created - spent[-1]
        accuracy, adjusted = record.accuracy.one_shot, record.accuracy.one_shot_bn
        with SummaryWriter(str(folder)) as writer:
            writer.add_scalar("left/parameters", record.after.params / record.before.params, 0, start)
            writer.add_scalar("left/flops", record.after.flops / record.before.flops, 0, start)
            writer.add_scalar("fine-tuning/accuracy", accuracy if adjusted is None else adjusted, 0, start)
            for step, epoch in enumerate(record.epochs, 1):
                writer.add_scalar("fine-tuning/loss", epoch.train_loss, step, start + spent[step])
                if epoch.test_accuracy is not None:
                    writer.add_scalar("fine-tuning/accuracy", epoch.test_accuracy, step, start + spent[step])
