"""Which photographs may be used for training, so that none of a test is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from ...errors import BenchmarkError
from .view2 import View2

Subset = Literal["unpaired", "disjoint"]


class LeakError(BenchmarkError, ValueError):
    """An image of the test is among the training images."""


def training_photos(names: Sequence[str], view: View2, subset: Subset) -> list[str]:
    """Photographs that no pair shows.

    Args:
        names: of all there are.
        view: the test's pairs.
        subset: ``"unpaired"`` leaves out the photographs of any pair, ``"disjoint"`` all of any person in a pair too.

    Raises:
        ValueError: another subset.
        LeakError: if none is left.
    """
    if subset not in ("unpaired", "disjoint"):
        raise ValueError(f"subset: 'unpaired' or 'disjoint', got {subset!r}")
    tested, people = set(view.images), view.people
    left = [name for name in names if name not in tested]
    if subset == "disjoint":
        left = [name for name in left if name.partition("/")[0] not in people]
    if len(left) < 2:
        raise LeakError(f"subset {subset!r}: {len(left)} of {len(names)} photographs are left to learn from, too few")
    return left


def check_no_leakage(names: Sequence[str], view: View2, source: str) -> None:
    """Refuse photographs that are called like some of a test.

    Raises:
        LeakError: names the first.
    """
    files = {name.rpartition("/")[2]: name for name in view.images}
    shared = [name for name in names if name.rpartition("/")[2] in files]
    if shared:
        more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
        raise LeakError(f"{source}: {shared[0]}{more} are in pairs of the test and must not be used for training")


def drop_duplicates(faces: Tensor, tested: Tensor) -> list[int]:
    """Numbers of the faces that are not, pixel for pixel, among those of the test.

    Args:
        faces: (N, 3, H, W), uint8.
        tested: (M, 3, H, W), uint8.
    """
    known = {_digest(face) for face in tested}
    return [number for number, face in enumerate(faces) if _digest(face) not in known]


def _digest(face: Tensor) -> bytes:
    return hashlib.blake2b(face.contiguous().numpy().tobytes(), digest_size=16).digest()
