"""A training that can be broken off: what it needs to go on, in one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..files import write_atomically
from .recipe import Epoch

__all__ = ["TrainingState", "forget_state", "state_file"]


@dataclass(eq=False)
class TrainingState:
    """Weights, optimizer and random state after an epoch.

    Args:
        module: all that is trained.
        optimizer: of its parameters.
        random: that decides order and augmentation.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    random: torch.Generator

    def save(self, path: Path, key: str, epoch: int, step: int, epochs: Sequence[Epoch]) -> None:
        """Write the state in one step; nothing is written where the folder of the file's folder is not there.

        Args:
            path: a safetensors file.
            key: what must be the same for a training that goes on from here.
            epoch: how many are over.
            step: how many steps are.
            epochs: those that were kept.
        """
        # A worker on another machine may not have the results folder.
        if not path.parent.parent.is_dir():
            return
        tensors = {f"module.{name}": tensor for name, tensor in self.module.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items() if _is_tensor(value)}
        tensors["random"] = self.random.get_state()
        content = [entry.model_dump(mode="json") for entry in epochs]
        about = {"key": key, "epoch": str(epoch), "step": str(step), "epochs": json.dumps(content)}
        # Cloned, because what shares memory cannot be saved, and momentum of a first step may be the gradient itself.
        whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        write_atomically(path, save(whole, metadata=about))

    def load(self, path: Path, key: str) -> tuple[int, int, list[Epoch]]:
        """Go on from a file; from the start if there is none, or one of another training.

        Returns:
            Epochs that are over, steps that are, and the epochs that were kept.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("key") != key:
                    return 0, 0, []
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return 0, 0, []
        self.module.load_state_dict(_below(tensors, "module."))
        groups = self.optimizer.state_dict()["param_groups"]
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in _below(tensors, "optimizer.").items():
            number, _, entry = name.partition(".")
            state.setdefault(int(number), {})[entry] = _laid_out_as(parameters[int(number)], tensor)
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.random.set_state(tensors["random"])
        epochs = [Epoch.model_validate(entry) for entry in json.loads(about["epochs"])]
        return int(about["epoch"]), int(about["step"]), epochs


def state_file(folder: Path | None, name: str) -> Path | None:
    """Where the state of the training that ends in a file of that name is kept."""
    return None if folder is None else folder / f"{Path(name).stem}.safetensors"


def forget_state(folder: Path, name: str) -> None:
    """Delete the state of a training that has ended in a file of that name, and the folder if nothing else is in it."""
    (folder / f"{Path(name).stem}.safetensors").unlink(missing_ok=True)
    # Not empty, or not there.
    with suppress(OSError):
        folder.rmdir()


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The state of a parameter in its memory format, without which fused optimizers refuse to go on."""
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)
