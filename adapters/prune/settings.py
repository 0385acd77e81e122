"""The configuration of one call of ``prune``, and the methods in it that a network may not allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch_pruning as tp
from torch import nn

from ...calibration.data import CalibrationData, Call, ForwardFn, first_images
from ..torch_pruning.importance import FOADImportance
from .search import Ranking

__all__ = ["PruneConfig", "UnavailableError", "unavailable"]

# Two images are enough to tell wrong channels from right ones.
_VERIFICATION_IMAGES = 2


class UnavailableError(Exception):
    """A method failed.

    Attributes:
        method: ``"sensitivity"`` or ``"refit"``.
        cause: the failure.
        reason: its message in one line.
    """

    def __init__(self, method: str, cause: Exception) -> None:
        self.method, self.cause = method, cause
        self.reason = (str(cause) or type(cause).__name__).splitlines()[0]
        super().__init__(f"{method}: {self.reason}")


@contextmanager
def unavailable(method: str) -> Iterator[None]:
    """Turn a failure inside into :class:`UnavailableError`, but not used-up memory or a warning that is an error."""
    try:
        yield
    except (MemoryError, Warning):
        raise
    except Exception as error:
        raise UnavailableError(method, error) from error


@dataclass(frozen=True, eq=False)
class PruneConfig:
    """What is the same in every step of a call of :func:`~foad_plugins.prune`, validated.

    Attributes:
        data: calibration data that can be read more than once.
        batch: the first batch, on which latency is measured; its first images if it is large.
        importance: collects similarity and products; ranks as well, unless there is a ``ranker``.
        ranker: another importance of Torch-Pruning to rank by; None for ``importance``.
        ignored: layers whose output channels are kept.
        ranking: how groups compete.
        round_to: widths end at multiples of this.
        ratios: the share that the groups of some layers lose whatever the target.
        max_ratios: the share that a group may lose at most, by layer.
        max_ratio: the same for all other groups.
        compensate: how consumers compensate for removed channels; None for not at all.
        reestimate_bn: whether to correct the statistics of batch normalization.
        verify: whether to verify the removal.
        on_wrong_removal: ``"keep"`` or ``"error"``, where channels of a group cannot be removed rightly.
        max_trace_seconds: how long it may take to collect the coupled groups.
        max_memory: the limit of ``importance`` for sums of similarities; None for none.
        replaceable: ``"sensitivity"``, ``"refit"`` or both, where the caller did not ask for them: if they are not
            possible for this network and data, plainer methods are used.
        reestimate_bn_without_refit: ``reestimate_bn`` if the refit is not possible.
    """

    data: CalibrationData
    batch: Call
    importance: FOADImportance
    ranker: tp.importance.Importance | None
    ignored: Sequence[nn.Module]
    ranking: Ranking
    round_to: int
    ratios: Mapping[nn.Module, float]
    max_ratios: Mapping[nn.Module, float]
    max_ratio: float
    compensate: str | None
    reestimate_bn: bool
    verify: bool
    on_wrong_removal: str
    max_trace_seconds: float
    max_memory: float | None = None
    replaceable: frozenset[str] = frozenset()
    reestimate_bn_without_refit: bool = False

    def without(self, method: str) -> PruneConfig:
        """The same with the plain method in the place of ``"sensitivity"`` or ``"refit"``."""
        if method == "sensitivity":
            return replace(self, ranking="local")
        return replace(self, compensate="least_squares", reestimate_bn=self.reestimate_bn_without_refit)

    @property
    def forward_fn(self) -> ForwardFn | None:
        """How the model is called; None for directly."""
        return self.data.forward_fn

    @property
    def example(self) -> Call:
        """One image."""
        return first_images(self.batch)

    @property
    def sample(self) -> Call:
        """The images on which a removal is verified."""
        return first_images(self.batch, _VERIFICATION_IMAGES)
