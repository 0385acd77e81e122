from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch

from foad_plugins import prune, refit
from tests.helpers.seeds import generator
from tests.networks.small_networks import Residual, seeded_norms

IMAGES = torch.randn(16, 3, 8, 8, generator=generator())


@pytest.mark.parametrize("settings", [{}, {"ranking": "local", "compensate": None}, {"steps": 2}])
def test_replaced_parameters_are_freed_at_once(settings):
    model = seeded_norms(Residual())
    before = [weakref.ref(parameter) for parameter in model.parameters()]
    gc.collect()
    gc.disable()
    try:
        report = prune(model, IMAGES, params=0.5, measure_latency=False, **settings)
        now = {id(parameter) for parameter in model.parameters()}
        left = [one() is not None and id(one()) not in now for one in before]
    finally:
        gc.enable()
    assert report.removed
    assert not any(left)


def test_a_refit_keeps_no_reference_to_either_network():
    original = seeded_norms(Residual())
    pruned = copy.deepcopy(original)
    networks = [weakref.ref(original), weakref.ref(pruned)]
    prune(pruned, IMAGES, params=0.5, compensate=None, reestimate_bn=False, measure_latency=False)
    gc.collect()
    gc.disable()
    try:
        report = refit(pruned, original, IMAGES)
        del original, pruned
        assert [one() for one in networks] == [None, None]
    finally:
        gc.enable()
    assert report.layers
