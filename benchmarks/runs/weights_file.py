"""Base weights from safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import nn

from ..errors import BenchmarkError
from ..files import hash_tensors

__all__ = ["WeightsError", "WeightsFile"]


class WeightsError(BenchmarkError):
    """A file that holds no weights, or those of another network."""


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """A state dict and where it was read.

    Attributes:
        path: the file, or what errors call it.
        tensors: by name, as in the file.
    """

    path: Path | str
    tensors: Mapping[str, torch.Tensor]

    @classmethod
    def read(cls, path: Path) -> WeightsFile:
        """Read a safetensors file.

        Raises:
            WeightsError: if it is none.
            OSError: if it cannot be opened.
        """
        try:
            return cls(path, load_file(path))
        except SafetensorError as error:
            raise WeightsError(f"{path} is no safetensors file ({error})") from None

    @classmethod
    def parse(cls, content: bytes, name: str) -> WeightsFile:
        """The weights in the content of a safetensors file.

        Raises:
            WeightsError: if it is none.
        """
        try:
            return cls(name, load(content))
        except SafetensorError as error:
            raise WeightsError(f"{name} is no safetensors file ({error})") from None

    @cached_property
    def hash(self) -> str:
        """SHA-256 over names, types, shapes and values of the tensors."""
        return hash_tensors(self.tensors)

    def load_into(self, model: nn.Module) -> None:
        """Give a network these weights, all of them and no others, in the network's own precision.

        Raises:
            WeightsError: if names or shapes differ.
        """
        try:
            model.load_state_dict(self.tensors)
        except RuntimeError as error:
            differences = " ".join(line.strip() for line in str(error).splitlines()[1:])
            if len(differences) > 300:
                differences = f"{differences[:300]}..."
            raise WeightsError(f"{self.path} does not fit {type(model).__name__}: {differences}") from None
