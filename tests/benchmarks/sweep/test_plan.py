from __future__ import annotations

import pytest

from foad_plugins.benchmarks.criteria import CriterionSpec
from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.datasets import ImageData, load_digits
from foad_plugins.benchmarks.records.environment import Versions
from foad_plugins.benchmarks.runs.weights_file import WeightsFile
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.suites.targets import Target
from foad_plugins.benchmarks.sweep.runner import plan
from foad_plugins.benchmarks.training.hardware import Hardware

VERSIONS = Versions(foad_plugins="1", torch="2", torch_pruning="3", fvcore="4")


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_digits()


def changed(suite: Suite, **changes: object) -> Suite:
    return Suite.model_validate({**dict(suite), **changes})


def test_seed_by_seed_every_criterion_of_every_table(tiny_suite: Suite, data: ImageData) -> None:
    point = Target(operating_point=Rule())
    paper = CriterionSpec(name="foad", rule=Rule(), label="paper")
    suite = changed(
        tiny_suite,
        seeds=2,
        targets=[*tiny_suite.targets, point],
        criteria=[paper, *tiny_suite.criteria],
        reference="l1",
    )
    runs = plan(suite, data, VERSIONS)
    order = [(run.seed, run.setup.conditions.target == point, run.criterion.title) for run in runs]
    table = [(False, "foad"), (False, "l1"), (True, "paper"), (True, "foad"), (True, "l1")]
    assert order == [(seed, *entry) for seed in (0, 1) for entry in table]
    assert len({run.file_name for run in runs}) == len(runs)
    assert len({run.setup.key for run in runs}) == 2
    assert {run.setup.reference for run in runs} == {"l1"}


def test_a_study_of_stability_has_a_table_for_each_number_of_images(tiny_suite: Suite, data: ImageData) -> None:
    runs = plan(changed(tiny_suite, kind="stability", image_counts=[8, 16]), data, VERSIONS)
    assert [run.setup.conditions.calibration_images for run in runs] == [8, 8, 16, 16]
    assert {run.setup.kind for run in runs} == {"stability"}


def test_what_is_run_on_counts(tiny_suite: Suite, data: ImageData) -> None:
    setup = plan(tiny_suite, data, VERSIONS)[0].setup
    assert (setup.suite, setup.pruner, setup.data_hash, setup.versions) == ("tiny", "prune", data.hash, VERSIONS)
    assert (setup.device, setup.devices, setup.precision, setup.weights_hash) == ("cpu", 1, "32-true", None)
    hardware = Hardware(device="cuda", devices=4, precision="16-mixed")
    given = WeightsFile("given", {})
    setup = plan(tiny_suite, data, VERSIONS, given, hardware)[0].setup
    assert (setup.device, setup.devices, setup.precision) == ("cuda", 4, "16-mixed")
    assert setup.weights_hash == given.hash


def test_each_target_and_ranking_is_a_setup_of_its_own(tiny_suite: Suite, data: ImageData) -> None:
    targets = (Target(flops_reduction=0.4), Target(params_reduction=0.5))
    suite = tiny_suite.model_copy(update={"targets": targets, "rankings": ("local", "global"), "seeds": 2})
    runs = plan(suite, data, VERSIONS)
    assert len(runs) == 2 * 2 * 2 * 2
    assert len({run.setup.key for run in runs}) == 4
    # A seed's runs follow one another, as they share a base model.
    assert [run.seed for run in runs] == [0] * 8 + [1] * 8
