"""Many faces into memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..reading import read_in_threads
from .alignment import Alignment
from .photos import PhotoError, Photos

__all__ = ["read_faces"]

_MOST_BYTES = 24 * 2**30


def read_faces(photos: Photos, names: Sequence[str], alignment: Alignment, what: str) -> Tensor:
    """Cut out the faces of these photographs.

    Args:
        photos: where they are.
        names: of ``photos.names``.
        alignment: how.
        what: what the progress bar calls them.

    Returns:
        uint8 of shape (N, 3, H, W).

    Raises:
        PhotoError: if one cannot be read or cut out, or all together would not fit into memory; names it.
    """
    height, width = alignment.size
    needed = len(names) * 3 * height * width
    if needed > _MOST_BYTES:
        raise PhotoError(f"{len(names)} faces take {needed / 2**30:.0f} GiB, more than {_MOST_BYTES / 2**30:.0f}")
    faces = torch.empty(len(names), 3, height, width, dtype=torch.uint8)

    def read(number: int) -> None:
        photo = photos.read(names[number])
        try:
            faces[number] = alignment(photo, names[number])
        except PhotoError as error:
            raise PhotoError(f"{photos.where(names[number])}: {error}") from None

    read_in_threads(read, len(names), what=what, unit="face")
    return faces
