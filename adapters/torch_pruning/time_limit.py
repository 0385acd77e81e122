"""A limit on the time that Torch-Pruning may take to collect the coupled group of a layer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn
from torch_pruning.dependency import DependencyGraph

__all__ = ["MAX_TRACE_SECONDS", "TraceTimeoutError", "check_time", "limit_of", "limit_time", "too_slow", "within_limit"]

MAX_TRACE_SECONDS = 60.0
"""How long it may take by default to collect the groups of all layers of a model, in seconds of the processor."""

# No single layer may use up the time of all others.
_SHARE_OF_ONE = 1 / 6
# The limit that was too short, by layer: each trace of a model gives a new graph, and the same group again.
_TOO_SLOW: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()
_LIMITS: WeakKeyDictionary[DependencyGraph, _Limit] = WeakKeyDictionary()


class TraceTimeoutError(Exception):
    """A coupled group is not complete when its time is up."""


class _Limit:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.left = seconds
        self.deadline: float | None = None


def limit_time(graph: DependencyGraph, seconds: float) -> DependencyGraph:
    """Limit the time to collect groups of a graph within :func:`within_limit`.

    Args:
        graph: the graph.
        seconds: of the processor, so that other work on the machine does not count, for the groups of all layers
            together; one layer gets a part of it.
    """
    _LIMITS[graph] = _Limit(seconds)
    return graph


def check_time(graph: DependencyGraph) -> None:
    """Called at each step of a collection.

    Raises:
        TraceTimeoutError: the collection began within :func:`within_limit`, and its time is up.
    """
    limit = _LIMITS.get(graph)
    if limit is not None and limit.deadline is not None and time.thread_time() > limit.deadline:
        raise TraceTimeoutError


def limit_of(graph: DependencyGraph) -> float | None:
    """The limit of a graph in seconds; None for one without."""
    limit = _LIMITS.get(graph)
    return None if limit is None else limit.seconds


def too_slow(graph: DependencyGraph, layer: nn.Module) -> bool:
    """Whether the group of a layer was not complete within the limit of this graph, or is known not to be."""
    limit = limit_of(graph)
    return limit is not None and _TOO_SLOW.get(layer, -1.0) >= limit


@contextmanager
def within_limit(graph: DependencyGraph, layer: nn.Module) -> Iterator[None]:
    """Collect the group of a layer inside; nothing is limited in a graph without a limit.

    Raises:
        TraceTimeoutError: it is not complete in time.
    """
    limit = _LIMITS.get(graph)
    if limit is None:
        yield
        return
    started = time.thread_time()
    limit.deadline = started + min(limit.left, limit.seconds * _SHARE_OF_ONE)
    try:
        yield
    except TraceTimeoutError:
        _TOO_SLOW[layer] = limit.seconds
        raise
    finally:
        limit.deadline = None
        limit.left = max(0.0, limit.left - (time.thread_time() - started))
