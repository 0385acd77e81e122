"""Base weights from files of state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from ...utils.state_files import StateFileError, read_state_file
from ...utils.state_fit import load_state
from ..errors import BenchmarkError
from ..files import hash_tensors


class WeightsError(BenchmarkError):
    """A file that holds no weights, or those of another network."""


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """A state dict and where it was read.

    Attributes:
        source: where it was read, as messages call it.
        tensors: by name, as in the file.
    """

    source: str
    tensors: Mapping[str, torch.Tensor]

    @classmethod
    def read(cls, path: Path) -> WeightsFile:
        """Read a safetensors file, or a state dict or training checkpoint of ``torch.save``.

        Raises:
            WeightsError: if it is none of these.
            OSError: if it cannot be opened.
        """
        try:
            file = read_state_file(path)
        except StateFileError as error:
            raise WeightsError(str(error)) from None
        return cls(file.source, file.tensors)

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

    def load_into(self, model: nn.Module) -> str:
        """Give a network these weights, all of them and no others, in the network's own precision.

        Prefixes of wrappers, such as ``module.``, are removed from the names where they fit the network then.

        Returns:
            What was read, in words.

        Raises:
            WeightsError: if names or shapes differ.
        """
        try:
            return load_state(model, self.tensors, self.source)
        except StateFileError as error:
            raise WeightsError(str(error)) from None
