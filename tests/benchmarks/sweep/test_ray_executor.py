from __future__ import annotations

import os
import socket
import sys
import time
from concurrent.futures import Future
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from foad_plugins.benchmarks.errors import BenchmarkError
from foad_plugins.benchmarks.sweep.ray_executor import MissingRayError, RayCluster


class FakeRay(ModuleType):
    """Says what it was asked for, and runs nothing."""

    def __init__(self, there: dict[str, float]) -> None:
        super().__init__("ray")
        self.there = there
        self.asked: list[Any] = []
        self.started: dict[str, Any] = {}
        self.futures: list[Future[Any]] = []

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.started = options

    def cluster_resources(self) -> dict[str, float]:
        return self.there

    def remote(self, function: object) -> Any:
        def options(**resources: Any) -> Any:
            self.asked.append((function, resources))
            return SimpleNamespace(remote=self._start)

        return SimpleNamespace(options=options)

    def _start(self, *arguments: object) -> Any:
        self.asked.append(arguments)
        self.futures.append(Future())
        return SimpleNamespace(future=lambda future=self.futures[-1]: future)

    def cancel(self, reference: object, force: bool) -> None:
        self.asked.append("cancel")

    def shutdown(self) -> None:
        self.asked.append("shutdown")


CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    # Set first, so that it is removed again after the test.
    monkeypatch.setenv(CLUSTERS, "")
    monkeypatch.delenv(CLUSTERS)
    fake = FakeRay({"CPU": 8.0, "GPU": 3.0})
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


@pytest.mark.parametrize(
    ("options", "slots"),
    [({"threads": 1}, 8), ({"threads": 3}, 2), ({"threads": 1, "gpus": 1}, 3), ({"threads": 1, "slots": 2}, 2)],
)
def test_as_many_jobs_at_once_as_there_is_room_for(ray: FakeRay, options: dict[str, int], slots: int) -> None:
    assert RayCluster(None, **options).slots == slots


@pytest.mark.parametrize("options", [{"threads": 9}, {"threads": 1, "gpus": 4}])
def test_a_job_too_large_for_the_cluster(ray: FakeRay, options: dict[str, int]) -> None:
    with pytest.raises(BenchmarkError, match="it has 8 CPUs and 3 GPUs"):
        RayCluster(None, **options)
    assert ray.asked == ["shutdown"]


def test_a_job_asks_for_its_cores_and_gpus_and_is_cancelled_at_the_end(ray: FakeRay) -> None:
    cluster = RayCluster(None, threads=2, gpus=1)
    done = cluster.submit(divmod, 7, 2)
    cluster.submit(divmod, 9, 2)
    assert ray.asked[0] == (divmod, {"num_cpus": 2, "num_gpus": 1})
    assert ray.asked[1] == (7, 2)
    ray.futures[0].set_result((3, 1))
    assert done.result(0) == (3, 1)
    cluster.close()
    assert ray.asked[4:] == ["cancel", "shutdown"]


def test_without_an_address_ray_is_started_here(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    RayCluster(None, threads=2, slots=40)
    assert ray.started["address"] == "local"
    assert ray.started["num_cpus"] == 80
    assert os.environ[CLUSTERS] == "0"


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingRayError, match=r'pip install "foad-plugins\[ray\]"'):
        RayCluster(None, threads=1)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_unreachable_address_fails_at_once(ray: FakeRay, form: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = form.format(taken.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(BenchmarkError, match=f"no Ray cluster can be reached at {address}"):
            RayCluster(address, threads=1)
        assert time.monotonic() - start < 10
    assert not ray.started
    assert CLUSTERS not in os.environ


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "host:port", ""])
def test_what_is_no_address(ray: FakeRay, address: str) -> None:
    with pytest.raises(BenchmarkError, match="host:port"):
        RayCluster(address, threads=1)


def test_rays_errors_are_reported_with_the_address(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**options: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", refused)
    with pytest.raises(BenchmarkError, match="Ray at auto: Could not find any running Ray instance"):
        RayCluster("auto", threads=1)
