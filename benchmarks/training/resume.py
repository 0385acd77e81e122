"""The state of an interrupted training, from which it can be resumed, in one file."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ...utils.files import write_atomically
from .recipe import Epoch

_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError)


@dataclass(eq=False)
class TrainingState:
    """Weights, optimizer and random state after an epoch.

    Args:
        module: all that is trained.
        optimizer: of its parameters.
        random: decides order and augmentation.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    random: torch.Generator

    def save(self, path: Path, key: str, epoch: int, step: int, epochs: Sequence[Epoch]) -> None:
        """Write the state atomically; nothing is written where the results folder (two levels up) does not exist.

        Args:
            path: the file, for ``torch.load(path, weights_only=True)``.
            key: hash of all that decides the training.
            epoch: number of finished epochs.
            step: number of finished steps.
            epochs: the finished epochs that were measured.
        """
        # A worker on another machine may not have the results folder.
        if not path.parent.parent.is_dir():
            return
        state = {
            "key": key,
            "epoch": epoch,
            "step": step,
            "epochs": [each.model_dump(mode="json") for each in epochs],
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(path, buffer.getvalue())

    def load(self, path: Path, key: str) -> tuple[int, int, list[Epoch]]:
        """Resume from a file, or start from scratch if there is none, it is damaged, or it is of another training.

        Returns:
            Number of finished epochs, number of finished steps, and the epochs that were measured.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except _UNREADABLE:
            return 0, 0, []
        if not isinstance(state, dict) or state.get("key") != key:
            return 0, 0, []
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.set_state(state["random"])
        return state["epoch"], state["step"], [Epoch.model_validate(each) for each in state["epochs"]]


def state_file(folder: Path | None, name: str) -> Path | None:
    """Path of the state of the training whose result is a file of that name; None without a folder."""
    return None if folder is None else folder / f"{Path(name).stem}.pt"


def forget_state(folder: Path, name: str) -> None:
    """Delete the state of a finished training, and the folder if it is then empty."""
    (folder / f"{Path(name).stem}.pt").unlink(missing_ok=True)
    # The folder may hold other files, or not exist.
    with suppress(OSError):
        folder.rmdir()
