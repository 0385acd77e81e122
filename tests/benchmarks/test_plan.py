from __future__ import annotations

import torch

from foad_plugins.benchmarks.datasets import load_digits
from foad_plugins.benchmarks.environment import Versions
from foad_plugins.benchmarks.hardware import Hardware
from foad_plugins.benchmarks.plan import plan
from foad_plugins.benchmarks.registry import Spec
from foad_plugins.benchmarks.suite import Suite
from foad_plugins.benchmarks.targets import Target
from foad_plugins.benchmarks.weights import WeightsFile


def test_it_goes_seed_by_seed_under_one_setup(tiny_suite: Suite) -> None:
    runs = plan(tiny_suite.model_copy(update={"seeds": 3}), load_digits(), Versions.installed())
    assert [(run.seed, run.criterion.name) for run in runs] == [
        (0, "foad"),
        (0, "l1"),
        (1, "foad"),
        (1, "l1"),
        (2, "foad"),
        (2, "l1"),
    ]
    assert len({run.setup.key for run in runs}) == 1
    assert len({run.file_name for run in runs}) == 6
    assert runs[0].setup.conditions.dataset == Spec(name="digits", settings={"test_fraction": 0.25, "split_seed": 0})


def test_each_target_and_ranking_is_a_setup_of_its_own(tiny_suite: Suite) -> None:
    targets = (Target(flops_reduction=0.4), Target(params_reduction=0.5))
    suite = tiny_suite.model_copy(update={"targets": targets, "rankings": ("local", "global"), "seeds": 2})
    runs = plan(suite, load_digits(), Versions.installed())
    assert len(runs) == 2 * 2 * 2 * 2
    assert len({run.setup.key for run in runs}) == 4
    # A seed's runs follow one another, as they share a base model.
    assert [run.seed for run in runs] == [0] * 8 + [1] * 8


def test_all_that_decides_a_run_is_in_its_setup(tiny_suite: Suite) -> None:
    data, versions = load_digits(), Versions.installed()
    given = WeightsFile("mine.safetensors", {"weight": torch.ones(2)})
    hardware = Hardware(device="cuda", devices=2, precision="bf16-mixed")
    setup = plan(tiny_suite, data, versions, given, hardware)[0].setup
    assert (setup.device, setup.devices, setup.precision) == ("cuda", 2, "bf16-mixed")
    assert (setup.data_hash, setup.weights_hash, setup.versions) == (data.hash, given.hash, versions)
    assert (setup.suite, setup.kind, setup.pruner) == ("tiny", "comparison", "prune")
    assert plan(tiny_suite, data, versions)[0].setup.weights_hash is None
