"""The global generators of random numbers: seeded inside, unchanged outside."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["isolated_random", "seed_everything", "seed_of"]


@contextmanager
def isolated_random(device: torch.device) -> Iterator[None]:
    """Restore the global generators of torch (on the CPU and on a device), NumPy and Python on exit."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, NumPy and Python with a number in [0, 2^32)."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def seed_of(*numbers: int) -> int:
    """A seed in [0, 2^32) made from several numbers of at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
