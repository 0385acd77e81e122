"""The result of evaluating a network on a data set's test part, for any task."""

from __future__ import annotations

import base64
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["base", "one_shot", "one_shot_bn", "fine_tuned"]
"""When a run evaluates, as the fields of a record's accuracies are called."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Verification(_Frozen):
    """Whether two images show the same, decided pair by pair by the distance of their embeddings.

    Attributes:
        folds: accuracy of each fold, in [0, 1], with threshold and mean embedding chosen on the others.
        thresholds: of the cosine similarity, for each fold; at or above it a pair is called the same.
        roc: false accept rate and the highest true accept rate reached with it, both in [0, 1], ascending, over all
            pairs, each compared as in its own fold.
        far: the false accept rate of ``tar``.
        tar: the highest true accept rate at which no more than ``far`` of the different pairs are accepted, in [0, 1].
        right: which pairs were decided correctly, in their order; see :func:`unpack`.
    """

    folds: tuple[float, ...]
    thresholds: tuple[float, ...]
    roc: tuple[tuple[float, float], ...]
    far: float = Field(default=1e-3, ge=0, le=1)
    tar: float = Field(ge=0, le=1)
    right: str


class Evaluation(_Frozen):
    """The outcome of one evaluation.

    Attributes:
        accuracy: the fraction of correct decisions, in [0, 1].
        standard_error: of the accuracy over the folds of the test; None where the task has none.
        verification: more of a test by pairs; None for classification.
    """

    accuracy: float = Field(ge=0, le=1)
    standard_error: float | None = Field(default=None, ge=0)
    verification: Verification | None = None


def pack(flags: NDArray[np.bool_]) -> str:
    """Flags (N,) as text of a sixth of their number: bits, highest first, in base64."""
    return base64.b64encode(np.packbits(flags).tobytes()).decode("ascii")


def unpack(text: str, count: int) -> NDArray[np.bool_]:
    """The ``count`` flags that :func:`pack` made ``text`` of.

    Raises:
        ValueError: if the text holds another number of flags.
    """
    packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    if len(packed) != -(-count // 8):
        raise ValueError(f"count: the text holds {8 * len(packed) - 7} to {8 * len(packed)} flags, not {count}")
    return np.unpackbits(packed, count=count).astype(np.bool_)
