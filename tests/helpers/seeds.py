"""The one seed from which every random number of the tests comes."""

from __future__ import annotations

import os

import torch

SEED = int(os.environ.get("FOAD_TEST_SEED") or 0)
"""Any other shows whether what a test asserts holds for most draws only: ``FOAD_TEST_SEED=7 python -m pytest``."""


def generator(number: int = 0) -> torch.Generator:
    """For what a module draws when it is imported, which must not hang on what was imported before.

    Args:
        number: another one for another tensor that is not to be the same.
    """
    return torch.Generator().manual_seed(1000 * number + SEED)
