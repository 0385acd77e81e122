"""The base models of a sweep, seed by seed: given, in a file, or still to be trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...utils.files import write_atomically
from ..records.schema import Setup
from ..runs.base_models import base_path, read_base
from ..runs.weights_file import WeightsFile
from .worker import BaseResult, JobFailure


@dataclass(frozen=True)
class Base:
    """A base model as jobs get it.

    Attributes:
        content: a safetensors file; None if its weights are given under the data root.
        hash: SHA-256 of the weights.
    """

    content: bytes | None
    hash: str


class BaseModelStore:
    """What is known of the base models.

    Args:
        folder: of the trained ones.
        setup: one of the sweep's, all of which have the same base models.
        given: the weights of every seed's, if they are not trained.
    """

    def __init__(self, folder: Path, setup: Setup, given: WeightsFile | None) -> None:
        self._folder, self._setup = folder, setup
        self._given = None if given is None else Base(None, given.hash)
        self._known: dict[int, Base | JobFailure] = {}

    def find(self, seed: int) -> Base | JobFailure | None:
        """The base model of a seed, or why it could not be trained; None if it is to be trained."""
        if self._given is not None:
            return self._given
        if seed not in self._known:
            path = self.path(seed)
            weights = read_base(path, self._setup)
            if weights is None:
                return None
            self._known[seed] = Base(path.read_bytes(), weights.hash)
        return self._known[seed]

    def add(self, seed: int, result: BaseResult) -> None:
        """Keep what came of a training.

        Raises:
            OSError: if it cannot be written.
        """
        if isinstance(result, JobFailure):
            self._known[seed] = JobFailure(f"base model: {result.reason}", result.details)
            return
        path = self.path(seed)
        write_atomically(path, result)
        self._known[seed] = Base(result, WeightsFile.parse(result, path.name).hash)

    def keep(self, seeds: set[int]) -> None:
        """Forget all others, which are of no more use and may be large."""
        self._known = {seed: base for seed, base in self._known.items() if seed in seeds}

    def remove(self, seeds: Iterable[int]) -> list[str]:
        """Delete the files of trained ones; returns their names, whether they were there or not."""
        paths = [] if self._given is not None else [self.path(seed) for seed in seeds]
        for path in paths:
            path.unlink(missing_ok=True)
        return [path.name for path in paths]

    def path(self, seed: int) -> Path:
        """Path of the trained weights of a seed, whether they exist or not."""
        return base_path(self._folder, self._setup, seed)
