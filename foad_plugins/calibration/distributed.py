"""Calibration shared between the ranks of torch.distributed: their sums added up, their errors told to each other."""

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
    """Go on behind the block on all ranks or on none: an error in it on one rank is raised on all.

    Without this, the others would wait for ever for one that has failed. Every rank of the default process group must
    enter it.

    Args:
        shared: whether there are other ranks; if not, nothing is done.
        ignore: an error that counts only if all ranks have it.

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
    """Make the statistics on every rank those over the data of all ranks, by one all-reduce each.

    Every rank of the default process group must call it, with statistics of the same channels in the same order. Ranks
    may have seen different numbers of images, or none.

    Args:
        statistics: changed in place.
        device: where a rank that has seen nothing keeps its zeros; one that the process group's backend can use.

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
