"""Many files read at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

__all__ = ["read_in_threads"]

# Numbers that a thread takes at a time: handing over costs more than a small file.
_CHUNK = 64


def read_in_threads(read: Callable[[int], None], count: int, *, what: str, unit: str) -> None:
    """Call a function for all numbers below ``count``, in several threads and under a progress bar.

    The first error, or an interrupt, is raised at once; reads that have not begun by then are dropped.

    Args:
        read: called with a number; stores what it has read.
        count: how many numbers.
        what: what the progress bar calls the files.
        unit: what it counts.
    """

    def several(numbers: range) -> int:
        for number in numbers:
            read(number)
        return len(numbers)

    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    with (
        tqdm(total=count, desc=f"reading {what}", unit=unit, leave=False, disable=None) as bar,
        ThreadPoolExecutor() as pool,
    ):
        try:
            for done in pool.map(several, chunks):
                bar.update(done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
