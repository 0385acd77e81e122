"""The learning rate over the steps of a training."""

from __future__ import annotations

import math

__all__ = ["learning_rate_factor"]


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """What the highest learning rate is multiplied by: a linear rise, then half a cosine (Loshchilov and Hutter 2017).

    Args:
        step: from 0 to ``steps - 1``.
        steps: of the whole training.
        warmup: number of steps of the rise, below ``steps``; 0 for none.

    Returns:
        In (0, 1].
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
