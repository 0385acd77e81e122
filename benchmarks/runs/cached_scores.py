"""Scores of one criterion on one network: computed once, checked, timed and used again on its copies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch_pruning as tp
from torch import nn

from ... import FOADImportance
from ...cost.latency import timer
from ..criteria import Scorer
from ..errors import BenchmarkError
from .profiling import PeakMemory


class CriterionError(BenchmarkError):
    """A criterion raised an error."""


class BadScoresError(CriterionError, ValueError):
    """A criterion returned something that is no score per channel."""


class CachedScores(tp.importance.Importance):
    """Asks a criterion once for each group and answers from memory after that.

    A run prunes more than one copy of a network, and the way to a FLOPs target may take several attempts; the scores
    are the same each time. A second call would cost time, and a criterion with random numbers would give others.
    Groups are recognised by the name of their root layer, so a book serves one network and its copies.

    Args:
        criterion: the criterion to ask.
        title: what errors call it.
        memory: watches the criterion's work; nothing does if None.

    Attributes:
        seconds: wall-clock time the criterion itself took so far, the device waited for.
        memory: what was given.
    """

    def __init__(self, criterion: Scorer, title: str, memory: PeakMemory | None = None) -> None:
        self._criterion = criterion
        self._title = title
        self.memory = memory
        self._scores: dict[str, torch.Tensor | None] = {}
        self.seconds = 0.0

    def __call__(self, group: tp.dependency.Group) -> torch.Tensor | None:
        """The criterion's scores for the group; None if the group is not to be pruned.

        Raises:
            BadScoresError: if the scores are not one finite number for each channel.
            CriterionError: if the criterion raises an error.
        """
        root = group._DG._module2name[group[0].dep.target.module]
        if root not in self._scores:
            where = f"criterion {self._title!r}, group of layer {root!r}"
            try:
                with self._watched():
                    scores = self._criterion(group)
            except Exception as error:
                raise CriterionError(f"{where}: {type(error).__name__}: {error}") from error
            self._scores[root] = _checked(scores, where, len(group[0].idxs))
        return self._scores[root]

    def calibrate(self, model: nn.Module, images: torch.Tensor) -> None:
        """Let FOAD's importance compute its statistics, for the published rule, which needs no scores."""
        with self._watched():
            FOADImportance().calibrate(model, images)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        with self.memory.watching() if self.memory else nullcontext():
            start = timer()
            yield
            self.seconds += timer() - start


def _checked(scores: torch.Tensor | None, where: str, channels: int) -> torch.Tensor | None:
    if scores is None:
        return None
    if not isinstance(scores, torch.Tensor) or scores.shape != (channels,):
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise BadScoresError(f"{where}: expected a tensor of shape ({channels},), got {got}")
    if scores.is_complex():
        raise BadScoresError(f"{where}: expected real numbers, got {scores.dtype}")
    if not scores.isfinite().all():
        raise BadScoresError(f"{where}: {int((~scores.isfinite()).sum())} of {channels} scores are NaN or Inf")
    return scores.detach().cpu()
