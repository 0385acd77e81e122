"""The person on each photograph, by the folder of the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .photos import PhotoError


@dataclass(frozen=True)
class People:
    """Labels of photographs.

    Attributes:
        labels: (N,), int64, the number of each one's person; all 0 without people.
        names: of the people, in the order of the labels; empty without.
    """

    labels: Tensor
    names: tuple[str, ...]


def people_of(names: Sequence[str], by: Literal["folders", "none"], fewest: int = 1) -> People:
    """Labels of photographs that are called ``PERSON/FILE``.

    Args:
        names: of the photographs.
        by: whether folders are people; without, all photographs have one label.
        fewest: photographs that each person must have.

    Raises:
        PhotoError: if one is in no person's folder, there is only one person, or one has too few photographs.
        ValueError: ``fewest`` below 1.
    """
    if fewest < 1:
        raise ValueError(f"fewest: at least 1, got {fewest}")
    if by == "none":
        return People(torch.zeros(len(names), dtype=torch.int64), ())
    loose = [name for name in names if "/" not in name]
    if loose:
        raise PhotoError(f"{loose[0]} is in no person's folder; with identities false no labels are needed")
    owners = [name.partition("/")[0] for name in names]
    counts = Counter(owners)
    if len(counts) < 2:
        raise PhotoError(f"the faces to learn from are all of one person ({owners[0]}): a folder for each is expected")
    few = sorted(person for person, count in counts.items() if count < fewest)
    if few:
        more = f" (and {len(few) - 1} more)" if len(few) > 1 else ""
        raise PhotoError(
            f"{few[0]}{more} has {counts[few[0]]} face{'s' if counts[few[0]] > 1 else ''}, fewer than {fewest}: leave "
            f"such folders out, or set fewest to {min(counts.values())}"
        )
    known = {person: number for number, person in enumerate(sorted(counts))}
    return People(torch.tensor([known[owner] for owner in owners], dtype=torch.int64), tuple(known))
