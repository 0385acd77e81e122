"""What the values of options must be, each as an argparse ``type``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from ...export.formats import FORMATS

__all__ = [
    "above_zero",
    "export_file",
    "layer_share",
    "memory_limit",
    "positive_int",
    "safetensors_file",
    "share",
    "size",
    "unit_interval",
]

_LONGEST_SIDE = 8192


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, got {text}")
    return number


def share(text: str) -> float:
    """A share in (0, 1)."""
    return _number(text, lambda number: 0 < number < 1, "a share between 0 and 1, such as 0.5 for half")


def unit_interval(text: str) -> float:
    """A number in [0, 1]."""
    return _number(text, lambda number: 0 <= number <= 1, "a number from 0 to 1")


def above_zero(text: str) -> float:
    """A number above 0."""
    return _number(text, lambda number: number > 0, "a number above 0")


def memory_limit(text: str) -> float:
    """A number of bytes, or a share of the memory of a device."""
    # A share where it is written with a point: 1 is a byte, and 1.0 all of the memory.
    if text.isdecimal() and int(text):
        return int(text)
    what = "bytes such as 500000000, or a share above 0 and at most 1.0 such as 0.1"
    return _number(text, lambda number: 0 < number <= 1, what)


def _number(text: str, accepted: Callable[[float], bool], what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not accepted(number):
        raise argparse.ArgumentTypeError(f"{what}, got {text or 'nothing'}")
    return number


def size(text: str) -> tuple[int, ...]:
    """One number for the shorter side of an image, or height and width."""
    try:
        sides = tuple(positive_int(side) for side in text.lower().split("x"))
    except argparse.ArgumentTypeError:
        sides = ()
    if len(sides) not in (1, 2) or max(sides) > _LONGEST_SIDE:
        raise argparse.ArgumentTypeError(
            f"a size such as 224, or height and width as 112x96, at most {_LONGEST_SIDE}, got {text!r}"
        )
    return sides


def layer_share(text: str) -> tuple[str, float]:
    """A layer's name and a share in [0, 1)."""
    layer, _, number = text.rpartition("=")
    what = "LAYER=SHARE with a share from 0 to below 1"
    return layer, _number(number if layer else "", lambda value: 0 <= value < 1, what)


def safetensors_file(text: str) -> Path:
    """The path of a file of safetensors."""
    path = Path(text)
    if path.suffix != ".safetensors":
        raise argparse.ArgumentTypeError(f"a file that ends in .safetensors, got {text!r}")
    return path


def export_file(text: str) -> Path:
    """The path of a file whose suffix is that of a format to export to."""
    path, known = Path(text), [suffix for kind in FORMATS for suffix in kind.suffixes]
    if path.suffix.lower() not in known:
        raise argparse.ArgumentTypeError(f"a file that ends in {', '.join(known)}, got {text!r}")
    return path
