from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from foad_plugins.benchmarks.records.store import RecordStore

from ..sweeps import Sweep, end, lasting, wait_until, workers_of


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    sweep = Sweep(tmp_path_factory.mktemp("uninterrupted"))
    assert sweep.run("--quiet") == 0, sweep.output()
    records = sweep.records()
    assert len(records) == 6
    return [lasting(record) for record in records]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


def test_killed_twice_it_ends_with_the_records_of_an_uninterrupted_sweep(
    sweep: Sweep, uninterrupted: list[dict[str, object]]
) -> None:
    sweep.hold("training")
    process = sweep.start()
    sweep.reached("training")
    assert end(process) == -signal.SIGKILL
    assert sweep.records() == []
    assert not list(sweep.folder.glob("out/base/*"))

    sweep.hold("scoring")
    process = sweep.start()
    sweep.reached("scoring")
    assert end(process) == -signal.SIGKILL
    (first,) = sweep.records()
    assert first.inputs.criterion.name == "l1"
    # What a kill in the middle of writing leaves.
    half = sweep.folder / "out" / "records" / ".held-seed0.json.abc.tmp"
    half.write_text('{"schema_version": 3, ')

    assert sweep.run() == 0, sweep.output()
    records = sweep.records()
    assert [lasting(record) for record in records] == uninterrupted
    assert first in records
    assert "5 runs in" in sweep.output()
    assert "ignored" not in sweep.output()


@pytest.mark.slow
def test_two_sweeps_over_one_folder_share_the_work(sweep: Sweep, uninterrupted: list[dict[str, object]]) -> None:
    sweep.hold("scoring")
    first = sweep.start()
    sweep.reached("scoring")
    # The first stays in its second run; the second does all the others and waits for that one.
    second = sweep.start()
    wait_until(lambda: len(sweep.records()) == 5, sweep.output)
    assert second.is_alive()
    end(first)
    second.join(60)
    assert second.exitcode == 0, sweep.output()
    assert [lasting(record) for record in sweep.records()] == uninterrupted
    assert "5 runs in" in sweep.output()
    assert "1 were already done" in sweep.output()


@pytest.mark.slow
def test_two_sweeps_that_start_together_do_no_run_twice(sweep: Sweep, uninterrupted: list[dict[str, object]]) -> None:
    processes = [sweep.start(), sweep.start()]
    for process in processes:
        process.join(300)
        assert process.exitcode == 0, sweep.output()
    assert [lasting(record) for record in sweep.records()] == uninterrupted
    done = [int(line.split()[0]) for line in sweep.output().splitlines() if " runs in " in line]
    assert sum(done) == 6


@pytest.mark.slow
def test_no_worker_survives_a_kill(sweep: Sweep, uninterrupted: list[dict[str, object]]) -> None:
    for place in ("training", "scoring"):
        sweep.hold(place)
        process = sweep.start("--workers", "2")
        sweep.reached(place)
        workers = workers_of(process)
        assert len(workers) == 2
        end(process)
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive
    assert sweep.run("--workers", "2") == 0, sweep.output()
    assert [lasting(record) for record in sweep.records()] == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(2, 130), (15, 143)])
def test_a_signal_ends_the_workers(sweep: Sweep, number: int, status: int) -> None:
    sweep.hold("scoring")
    process = sweep.start("--workers", "2")
    sweep.reached("scoring")
    workers = workers_of(process)
    # As Ctrl-C and a service manager do, which reach all processes.
    for worker in workers:
        worker.send_signal(number)
    assert end(process, number) == status
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    lines = sweep.output().splitlines()
    assert sum("finished runs are kept" in line for line in lines) == 1
    assert "Traceback" not in sweep.output()
    assert "leaked" not in sweep.output()


@pytest.mark.slow
def test_a_killed_worker_is_an_error_after_which_the_same_command_continues(
    sweep: Sweep, uninterrupted: list[dict[str, object]]
) -> None:
    sweep.hold("scoring")
    process = sweep.start("--workers", "2")
    sweep.reached("scoring")
    wait_until(lambda: len(sweep.records()) >= 1, sweep.output)
    for worker in workers_of(process):
        worker.kill()
    process.join(60)
    assert process.exitcode == 1, sweep.output()
    assert "foad-bench: a worker process died" in sweep.output()
    assert "Traceback" not in sweep.output()
    kept = sweep.records()
    assert kept
    assert sweep.run() == 0, sweep.output()
    assert [lasting(record) for record in sweep.records()] == uninterrupted
    assert all(record in sweep.records() for record in kept)


@pytest.mark.slow
def test_ray_workers_give_the_records_of_one_process(sweep: Sweep, uninterrupted: list[dict[str, object]]) -> None:
    pytest.importorskip("ray", reason="needs Ray, of the extra ray")
    assert sweep.run("--executor", "ray", "--workers", "2") == 0, sweep.output()
    assert [lasting(record) for record in RecordStore(sweep.folder / "out" / "records").all()] == uninterrupted
