from __future__ import annotations

import gc
import json
import os
import random
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foad_plugins.cost import latency
from tests.helpers.seeds import SEED

ROOT = Path(os.environ.get("FOAD_DATA") or Path(__file__).resolve().parents[2] / "shared")
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2023, 0.1994, 0.2010]).view(3, 1, 1)


def data_file(name: str) -> Path:
    """A file of real data, or a skip that names the missing one."""
    path = ROOT / name
    if not path.is_file():
        pytest.skip(f"needs {name} under FOAD_DATA (or ../shared), which is not there")
    return path


def weights(name: str) -> dict[str, Tensor]:
    safetensors = pytest.importorskip("safetensors.torch")
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in safetensors.load_file(data_file(f"weights/{name}.safetensors")).items()
    }


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    return json.loads(data_file("reference/foad_selection.json").read_text())


@pytest.fixture(scope="session")
def cifar() -> Tensor:
    """The first 512 training images of CIFAR-10, normalized."""
    with np.load(data_file("data/cifar10_lossless.npz")) as arrays:
        images = torch.from_numpy(arrays["train_images"][:512])
    return (images.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


@pytest.fixture(scope="session")
def resnet56_weights() -> dict[str, Tensor]:
    return weights("resnet56_cifar10")


@pytest.fixture(scope="session")
def vgg16_weights() -> dict[str, Tensor]:
    return weights("vgg16_cifar10_jpeg")


@pytest.fixture(scope="session")
def mobilefacenet_weights() -> dict[str, Tensor]:
    return weights("mobilefacenet_casia")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """No module draws from the global random state when it is imported: the numbers would depend on other modules."""
    before = torch.get_rng_state()
    report = yield
    if isinstance(collector, pytest.Module) and report.passed and not torch.equal(torch.get_rng_state(), before):
        report.outcome = "failed"
        report.longrepr = (
            f"{collector.nodeid} draws random numbers at import: give it generator=tests.helpers.seeds.generator()"
        )
    return report


@pytest.fixture(autouse=True)
def _short_latency(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements of latency end early, unless the test is marked ``usual_latency``."""
    if request.node.get_closest_marker("usual_latency") is None:
        monkeypatch.setattr(latency, "MIN_SECONDS", 0.005)


@pytest.fixture(scope="module", params=["fused", "plain"])
def either_sums(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sums of similarities by Numba, where it is installed, and by torch's own operations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOAD_NUMBA", "1" if request.param == "fused" else "0")
        yield


def _seed() -> None:
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    random.seed(SEED)


@pytest.fixture(autouse=True, scope="module")
def _collected() -> Iterator[None]:
    """Torch-Pruning's graphs are cycles that hold whole activations."""
    gc.collect()
    _seed()
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    # The tests are small: threads that wait for each other cost more than they save.
    torch.set_num_threads(1)
    _seed()
