from __future__ import annotations

import os
import time
from concurrent.futures import BrokenExecutor, wait

import pytest

from foad_plugins.benchmarks.sweep.executors import InProcess, WorkerLostError, WorkerProcesses

from ..sweeps import bar_lock


def test_in_process_a_call_is_made_here_and_now() -> None:
    executor = InProcess()
    assert executor.slots == 1
    assert executor.submit(os.getpid).result(0) == os.getpid()
    executor.close()


@pytest.mark.slow
def test_worker_processes_work_are_ended_and_can_be_lost() -> None:
    executor = WorkerProcesses(1)
    try:
        worker = executor.submit(os.getpid).result(120)
        assert worker not in (os.getpid(), os.getppid())
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result(60)
        assert executor.submit(os.getpid).result(60) == worker
        # Only a lock between processes is left behind when one of them is killed.
        assert executor.submit(bar_lock).result(120) == "RLock"
        running = executor.submit(time.sleep, 600)
        os.kill(worker, 9)
        wait([running], 60)
        assert isinstance(running.exception(0), BrokenExecutor)
        with pytest.raises(WorkerLostError, match="finished runs are kept"):
            executor.submit(os.getpid)
    finally:
        executor.close()


@pytest.mark.slow
def test_closing_ends_running_jobs() -> None:
    executor = WorkerProcesses(2)
    pids = {executor.submit(os.getpid).result(120)}
    executor.submit(time.sleep, 600)
    start = time.monotonic()
    executor.close()
    executor.close()
    assert time.monotonic() - start < 60
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
