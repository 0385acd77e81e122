"""Tiny photographs of people who do not exist, and pairs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

PEOPLE = {"Ann": 4, "Bo": 3, "Cy": 2, "Di": 2, "Ed": 2, "Flo": 1, "Gus": 3}
PAIRS = """2\t2
Ann\t1\t2
Bo\t1\t2
Ann\t1\tBo\t1
Ann\t2\tCy\t1
Cy\t1\t2
Di\t1\t2
Cy\t2\tDi\t1
Di\t2\tEd\t1
"""
PAIRED = {"Ann_0001", "Ann_0002", "Bo_0001", "Bo_0002", "Cy_0001", "Cy_0002", "Di_0001", "Di_0002", "Ed_0001"}


def photograph(person: str, number: int, size: tuple[int, int]) -> Image.Image:
    """A person's own colors with some noise, (height, width) = ``size``."""
    own = np.random.default_rng(sum(map(ord, person))).integers(60, 200, (4, 4, 3))
    noise = np.random.default_rng(1000 * number + len(person)).integers(-20, 20, (*size, 3))
    coarse = np.asarray(Image.fromarray(own.astype(np.uint8)).resize(size[::-1]))
    return Image.fromarray((coarse + noise).clip(0, 255).astype(np.uint8))


def make_faces(folder: Path, people: dict[str, int] = PEOPLE, size: tuple[int, int] = (32, 32)) -> Path:
    """Photographs in LFW's layout."""
    for person, count in people.items():
        (folder / person).mkdir(parents=True)
        for number in range(1, count + 1):
            photograph(person, number, size).save(folder / person / f"{person}_{number:04d}.png")
    return folder
