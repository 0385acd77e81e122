"""Calibration on several ranks of torch.distributed: their sums are added, and an error on one is raised on all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from ..criterion.gram import GramStatistics
from ..criterion.similarity import ChannelStatistics

__all__ = ["all_reduce_statistics", "raise_on_all_ranks"]


@contextmanager
def raise_on_all_ranks(shared: bool, ignore: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Raise an error in the block on one rank on all ranks.

    Without this, the other ranks would wait forever for the one that has failed. Every rank of the default process
    group must enter the block.

    Args:
        shared: whether there are several ranks; if not, the block is run as it is.
        ignore: an error that is raised only if all ranks have it.

    Raises:
        RuntimeError: another rank failed, or torch.distributed is not initialised.
    """
    if not shared:
        yield
        return
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "distributed=True needs torch.distributed: start with torchrun and call init_process_group() first"
        )
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    problems = _gathered(None if error is None else (isinstance(error, ignore), f"{type(error).__name__}: {error}"))
    if all(problem is not None and problem[0] for problem in problems):
        ignore = ()
    if error is not None and not isinstance(error, ignore):
        raise error
    for rank, problem in enumerate(problems):
        if problem is not None and not problem[0]:
            raise RuntimeError(f"calibration failed on rank {rank} of {len(problems)}: {problem[1]}")


def all_reduce_statistics(statistics: Sequence[ChannelStatistics | GramStatistics], device: torch.device) -> None:
    """Replace the statistics of every rank by those of all ranks' data, with one all-reduce each.

    Every rank of the default process group must call it, with statistics of the same channels in the same order. Ranks
    may have different numbers of images, or none.

    Args:
        statistics: changed in place.
        device: the device of the zeros of a rank without data; one that the backend of the process group can use.

    Raises:
        RuntimeError: the ranks' statistics are not over the same channels.
    """
    seen = _gathered([(type(one).__name__, one.num_channels, _count(one)) for one in statistics])
    if any([entry[:2] for entry in other] != [entry[:2] for entry in seen[0]] for other in seen):
        raise RuntimeError("the ranks calibrate different sets of channels: is the model the same on all of them?")
    for number, one in enumerate(statistics):
        total = sum(entries[number][2] for entries in seen)
        if total:
            one.all_reduce(total, device)


def _count(statistics: ChannelStatistics | GramStatistics) -> int:
    return statistics.count if isinstance(statistics, ChannelStatistics) else statistics.samples


def _gathered(item: Any) -> list[Any]:
    items: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(items, item)
    return items
