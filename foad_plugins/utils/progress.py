"""Progress of work that has no steps to count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

__all__ = ["phase"]


@contextmanager
def phase(name: str, *, progress: bool) -> Iterator[None]:
    """Show the name of what is being done, and afterwards how long it took, on the standard error.

    Args:
        name: in a few words.
        progress: False to show nothing.
    """
    with tqdm(desc=name, bar_format="{desc}: {elapsed}", disable=not progress):
        yield
