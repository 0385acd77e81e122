from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import torch

from foad_plugins import FOADImportance
from foad_plugins.adapters.torch_pruning.graph import build_graph, prunable_groups
from foad_plugins.calibration.data import Call
from foad_plugins.calibration.preserve import preserve_state
from tests.helpers.seeds import SEED, generator

from ..helpers.state_fingerprint import trace
from ..networks.small_networks import Chain, Concat, Residual, seeded_norms

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())


def groups_of(model):
    return prunable_groups(build_graph(model, Call((IMAGES[:1],), IMAGES[:1])), [])


def similarities(groups):
    importance = FOADImportance(IMAGES)
    return [importance.similarity(group) for group in groups]


def network(kind=Residual):
    torch.manual_seed(SEED)
    return seeded_norms(kind())


@pytest.mark.parametrize("kind", [Chain, Residual, Concat])
def test_repeated_runs_give_the_same_bits(kind):
    """With any number of threads; from one number to another torch itself rounds a 1x1 convolution differently."""
    before, groups = torch.get_num_threads(), groups_of(network(kind))
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            first, second = similarities(groups), similarities(groups)
            assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    finally:
        torch.set_num_threads(before)


def test_two_threads_do_not_disturb_each_other():
    models = [network(kind) for kind in (Residual, Concat)]
    groups = [groups_of(model) for model in models]
    alone = [similarities(some) for some in groups]
    before, found = [trace(model) for model in models], {}

    def work(number):
        found[number] = [similarities(groups[number]) for _ in range(5)]

    in_parallel(lambda: work(0), lambda: work(1))
    for number, expected in enumerate(alone):
        for similarity in found[number]:
            assert all(torch.equal(one, two) for one, two in zip(similarity, expected, strict=True))
    assert [trace(model) for model in models] == before


def test_a_measurement_waits_for_one_in_another_thread():
    """Both would put the random state back, each what it had found."""
    started, second, models = threading.Event(), threading.Event(), (network(), network(Chain))
    before = torch.get_rng_state()

    def first_in():
        with preserve_state(models[0]):
            started.set()
            assert not second.wait(0.2)

    def second_in():
        started.wait()
        with preserve_state(models[1]):
            second.set()

    in_parallel(first_in, second_in)
    assert second.is_set()
    assert torch.equal(torch.get_rng_state(), before)


def in_parallel(*works):
    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(work) for work in works]:
            future.result()


@pytest.mark.slow
def test_a_thousand_calibrations_leave_memory_flat():
    process, model = psutil.Process(), network()
    for number in range(1000):
        FOADImportance(IMAGES).calibrate(model)
        if number == 200:
            gc.collect()
            start, objects = process.memory_info().rss, len(gc.get_objects())
    gc.collect()
    assert process.memory_info().rss - start < 8 * 2**20
    assert len(gc.get_objects()) - objects < 100
