"""The warning types of the package, so that a caller can filter each one or make it an error."""

from __future__ import annotations

import sys
import warnings

__all__ = [
    "AmbiguousDataWarning",
    "FOADWarning",
    "InsufficientDataWarning",
    "NoEffectWarning",
    "OutputWidthWarning",
    "UnscoredGroupWarning",
]


class FOADWarning(UserWarning):
    """Base class of every warning that this package gives."""


class NoEffectWarning(FOADWarning):
    """A pruning call that removed nothing."""


class AmbiguousDataWarning(FOADWarning):
    """A tuple of tensors that may be batches, taken as the inputs of one call."""


class InsufficientDataWarning(FOADWarning):
    """Fewer calibration samples than channels, for a regression between channels."""


class OutputWidthWarning(FOADWarning):
    """A model whose output has lost channels since the last calibration."""


class UnscoredGroupWarning(FOADWarning):
    """A coupled group left without a score because none of its feature maps was observed."""


def warn(message: str, category: type[FOADWarning]) -> None:
    """Give a warning that points at the first caller outside this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("foad_plugins"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level - 1)
