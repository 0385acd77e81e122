"""Jobs on Ray, which finds machines, GPUs and free cores itself."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ..errors import BenchmarkError
from .executors import Executor

T = TypeVar("T")
_SECONDS_TO_CONNECT = 5.0


class MissingRayError(BenchmarkError):
    """The option needs Ray, which is not installed."""


class RayCluster(Executor):
    """Tasks on Ray.

    Workers on other machines need the same packages, and the user's data, weights and files under the same paths.

    Args:
        address: of a running cluster: ``"host:port"``, ``"ray://host:port"`` or ``"auto"``; None starts Ray on this
            machine.
        threads: CPU cores a job takes.
        gpus: GPUs a job takes.
        slots: jobs at once at most; as many as the cluster has room for if None.

    Raises:
        MissingRayError: if Ray is not installed.
        BenchmarkError: if the cluster cannot be reached, or no job fits into it.
    """

    local = False

    def __init__(self, address: str | None, *, threads: int, gpus: int = 0, slots: int | None = None) -> None:
        if address is None:
            # Anyone who reaches Ray's ports can run code. Without clusters, which the variable disables on every
            # system, Ray listens on 127.0.0.1; it is read when Ray is imported.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        try:
            import ray
        except ImportError:
            raise MissingRayError(
                '--executor ray needs Ray, which is not installed: pip install "foad-plugins[ray]"'
            ) from None
        self._ray, self._threads, self._gpus = ray, threads, gpus
        self._running: dict[Future[Any], Any] = {}
        self._ours = not ray.is_initialized()
        if self._ours:
            self._start(address, slots)
        there = ray.cluster_resources()
        room = int(there.get("CPU", 0)) // threads
        if gpus:
            room = min(room, int(there.get("GPU", 0)) // gpus)
        if room < 1:
            self.close()
            has = f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"
            raise BenchmarkError(
                f"no job fits into the Ray cluster: one takes {threads} CPUs and {gpus} GPUs, it has {has}"
            )
        self.slots = min(room, slots or room)

    def _start(self, address: str | None, slots: int | None) -> None:
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            # Cores are what Ray counts by; where jobs are to share them, it must believe in enough.
            cores = None if slots is None else max(slots * self._threads, os.cpu_count() or 1)
            # "local", as otherwise the environment variable RAY_ADDRESS would decide.
            common |= {"address": "local", "include_dashboard": False, "num_cpus": cores}
        else:
            _check_reachable(address)
            common["address"] = address
        before = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(**common)
        except (OSError, RuntimeError, ValueError) as error:
            raise BenchmarkError(f"Ray at {address or 'this machine'}: {error}") from error
        finally:
            # Ray's own handler leaves the process where it is.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start a task; Ray repeats it elsewhere if its machine fails."""
        task = self._ray.remote(function).options(num_cpus=self._threads, num_gpus=self._gpus)
        reference = task.remote(*arguments)
        future: Future[T] = reference.future()
        self._running[future] = reference
        future.add_done_callback(lambda done: self._running.pop(done, None))
        return future

    def close(self) -> None:
        """Cancel what runs, and end Ray if it was started here."""
        for reference in list(self._running.values()):
            self._ray.cancel(reference, force=True)
        if self._ours:
            self._ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself would try again and again for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdecimal()):
        if address == "auto":
            return
        raise BenchmarkError(f"a Ray cluster's address is host:port, ray://host:port or auto, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise BenchmarkError(f"no Ray cluster can be reached at {address}: {error}") from None
