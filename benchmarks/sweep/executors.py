"""Where jobs run: in this process or in others on this machine. Each is an executor of futures."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from tqdm import tqdm

from ..errors import BenchmarkError

T = TypeVar("T")
_ASKED_TO_END = {signal.SIGINT, signal.SIGTERM}


class WorkerLostError(BenchmarkError):
    """A worker process died, for lack of memory or because it was killed."""

    def __init__(self) -> None:
        super().__init__(
            "a worker process died, perhaps for lack of memory; finished runs are kept, the same command continues "
            "from there"
        )


class Executor(ABC):
    """Runs functions that can be imported, with arguments that can be pickled.

    Attributes:
        slots: how many run at once.
        local: whether they run on this machine.
    """

    slots: int
    local: bool = True

    @abstractmethod
    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start a call.

        Raises:
            WorkerLostError: if a worker has died.
        """

    @abstractmethod
    def close(self) -> None:
        """End all that runs, without waiting for its results."""


class InProcess(Executor):
    """One call after the other, here."""

    slots = 1

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Make the call before returning."""
        future: Future[T] = Future()
        future.set_result(function(*arguments))
        return future

    def close(self) -> None:
        """Nothing runs any more."""


class WorkerProcesses(Executor):
    """Processes on this machine, by ``concurrent.futures``; they end with the process that made them, however it ends.

    They share the GPU, if there is one.

    Args:
        count: how many, at least 1.
    """

    def __init__(self, count: int) -> None:
        self.slots = count
        # Spawned, because a fork of a process that has run torch's threads can hang.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_exit_with_parent)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start a call in a process that is free."""
        try:
            with _blocked_signals():
                return self._pool.submit(function, *arguments)
        except BrokenExecutor:
            raise WorkerLostError from None

    def close(self) -> None:
        """End the processes where they are."""
        # As kill_workers() does from Python 3.14 on.
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Block SIGINT and SIGTERM while workers start: only the parent handles Ctrl-C."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKED_TO_END)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_with_parent() -> None:
    """End this process as soon as its parent ends, and not before."""
    for number in _ASKED_TO_END:
        # Neither blocked nor ignored from here on: processes that a worker starts would inherit that.
        signal.signal(number, _stay)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKED_TO_END)
    # By default bars share a lock between processes, which is reported as leaked when this process is killed.
    tqdm.set_lock(threading.RLock())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _stay(number: int, frame: FrameType | None) -> None:
    pass
