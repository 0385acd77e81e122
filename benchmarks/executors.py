"""Where jobs run: in this process, in others on this machine, or on a Ray cluster. Each is an executor of futures."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from .errors import BenchmarkError

__all__ = ["Executor", "InProcess", "MissingRayError", "RayCluster", "WorkerProcesses"]

T = TypeVar("T")
_LOOK_EVERY = 0.5


class MissingRayError(BenchmarkError):
    """Ray is asked for and not installed."""


class Executor(ABC):
    """Runs functions that can be imported, with arguments that can be pickled.

    Attributes:
        slots: how many run at once.
    """

    slots: int

    @abstractmethod
    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start a call."""

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

    Args:
        count: how many, at least 1.
    """

    def __init__(self, count: int) -> None:
        self.slots = count
        # Spawned, because a fork of a process that has run torch's threads can hang.
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_follow_parent, initargs=(os.getpid(), self._stop)
        )

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start a call in a process that is free."""
        return self._pool.submit(function, *arguments)

    def close(self) -> None:
        """End the processes where they are."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _follow_parent(parent: int, stop: Event) -> None:
    """Let this process end as soon as its parent does or says so."""
    import signal

    # Ctrl-C reaches every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent and not stop.is_set():
            time.sleep(_LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class RayCluster(Executor):
    """Tasks on Ray, which finds machines, GPUs and free cores itself.

    Args:
        address: of a running cluster, or ``"auto"``; None starts Ray on this machine.
        threads: CPU cores a job takes.
        gpus: GPUs a job takes.
        slots: jobs at once at most; as many as the cluster has room for if None.

    Raises:
        MissingRayError: if Ray is not installed.
        BenchmarkError: if the cluster cannot be reached, or no job fits into it.
    """

    def __init__(self, address: str | None, *, threads: int, gpus: int = 0, slots: int | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise MissingRayError(
                '--executor ray needs Ray, which is not installed: pip install "foad-plugins[ray]"'
            ) from None
        self._ray, self._threads, self._gpus = ray, threads, gpus
        self._ours = not ray.is_initialized()
        if self._ours:
            local: dict[str, Any] = {} if address else {"include_dashboard": False}
            if not address and slots:
                local["num_cpus"] = slots * threads
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise BenchmarkError(f"Ray at {address or 'this machine'}: {error}") from error
        there = ray.cluster_resources()
        room = int(there.get("CPU", 0)) // threads
        if gpus:
            room = min(room, int(there.get("GPU", 0)) // gpus)
        if room < 1:
            self.close()
            raise BenchmarkError(f"no job fits into the Ray cluster: it takes {threads} CPUs and {gpus} GPUs, {there}")
        self.slots = min(room, slots or room)
        self._running: dict[Future[Any], Any] = {}

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start a task; Ray runs it again elsewhere if its machine goes."""
        task = self._ray.remote(function).options(num_cpus=self._threads, num_gpus=self._gpus)
        reference = task.remote(*arguments)
        future: Future[T] = reference.future()
        self._running[future] = reference
        future.add_done_callback(lambda done: self._running.pop(done, None))
        return future

    def close(self) -> None:
        """Cancel what runs, and end Ray if it was started here."""
        for reference in list(getattr(self, "_running", {}).values()):
            self._ray.cancel(reference, force=True)
        if self._ours:
            self._ray.shutdown()
