from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch

from foad_plugins import count_flops, count_params, prune
from foad_plugins.benchmarks.criteria import CriterionSpec
from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.datasets import ImageData, load_digits
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.records.environment import Versions
from foad_plugins.benchmarks.records.schema import RunInputs, RunRecord
from foad_plugins.benchmarks.runs import run as single_run
from foad_plugins.benchmarks.runs.base_models import BaseModel, load_base
from foad_plugins.benchmarks.runs.run import run_one
from foad_plugins.benchmarks.runs.weights_file import WeightsFile
from foad_plugins.benchmarks.suites.loader import find_suite
from foad_plugins.benchmarks.suites.schema import Suite
from foad_plugins.benchmarks.suites.targets import Target
from foad_plugins.benchmarks.sweep.runner import plan
from foad_plugins.benchmarks.training.recipe import Epoch, Recipe
from foad_plugins.benchmarks.training.train import evaluate, train

VERSIONS = Versions(foad_plugins="1", torch="2", torch_pruning="3", fvcore="4")
Inputs: TypeAlias = Callable[..., list[RunInputs]]


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_digits()


@pytest.fixture
def inputs(tiny_suite: Suite, data: ImageData) -> Inputs:
    """A function that gives the runs of the tiny suite with changes."""

    def make(suite: Suite = tiny_suite, conditions: dict[str, Any] | None = None, **changes: Any) -> list[RunInputs]:
        changes["conditions"] = {**dict(suite.conditions), **(conditions or {})}
        return plan(Suite.model_validate({**dict(suite), **changes}), data, VERSIONS)

    return make


@pytest.fixture(scope="module")
def base(data: ImageData) -> BaseModel:
    """A trained model that all tests share, as none may change it."""
    spec = {"name": "digits-vgg", "settings": {"widths": [4, 6, 8]}}
    suite = Suite.model_validate(
        {
            "name": "base",
            "description": "",
            "conditions": {
                "dataset": {"name": "digits"},
                "model": spec,
                "base_recipe": {"epochs": 2, "learning_rate": 0.05},
                "finetune_recipe": {"epochs": 0, "learning_rate": 0.05},
            },
            "targets": [{"flops_reduction": 0.4}],
            "criteria": [{"name": "l1"}],
        }
    )
    setup = plan(suite, data, VERSIONS)[0].setup
    torch.set_num_threads(1)
    model = build_model(setup.conditions.model, seed=0)
    train(model, data, Recipe(epochs=2, learning_rate=0.05), seed=0, quiet=True)
    return load_base(setup, WeightsFile("base", model.state_dict()), data)


@pytest.fixture(autouse=True)
def _base_stays(base: BaseModel) -> Any:
    before = copy.deepcopy(base.model.state_dict())
    yield
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    assert not any(module.training for module in base.model.modules())


def test_digits_recover_without_labels(inputs: Inputs, data: ImageData, base: BaseModel) -> None:
    wiped = ImageData(
        data.train_images, torch.zeros_like(data.train_labels), data.test_images, data.test_labels, num_classes=10
    )
    recipe = Recipe(epochs=4, learning_rate=0.003, optimizer="adamw", objective="distillation")
    records = {}
    for objective in ("distillation", "labels"):
        (run, _) = inputs(conditions={"finetune_recipe": recipe.model_copy(update={"objective": objective})})
        records[objective] = run_one(run, wiped, base, quiet=True).accuracy
    distilled = records["distillation"]
    assert distilled.one_shot < base.accuracy - 0.1
    assert distilled.fine_tuned > base.accuracy - 0.03
    # All of one class is what labels would have taught.
    assert records["labels"].fine_tuned < 0.2


def test_the_stages_of_a_run(inputs: Inputs, data: ImageData, base: BaseModel) -> None:
    entry = CriterionSpec(name="foad", settings={"order": "rounds"}, compensate="least_squares", reestimate_bn=True)
    recipe = Recipe(epochs=2, learning_rate=0.02, batch_size=128)
    (run,) = inputs(criteria=[entry], conditions={"finetune_recipe": recipe})
    record = run_one(run, data, base, quiet=True)

    images = data.calibration(16, seed=0)[0]
    models = []
    for moved in (False, True):
        models.append(copy.deepcopy(base.model))
        options = {"compensate": "least_squares", "reestimate_bn": moved, "order": "rounds", "ranking": "local"}
        report = prune(models[-1], images, flops=0.6, measure_latency=False, **options)
    assert record.accuracy.base == base.accuracy
    assert record.accuracy.one_shot == evaluate(models[0], data)
    assert record.accuracy.one_shot_bn == evaluate(models[1], data)
    assert record.removed == {group.name: tuple(sorted(group.selection.removed)) for group in report.groups}
    assert record.pruning_ratio == pytest.approx(report.removed / report.channels)
    assert record.after.flops == count_flops(models[1], data.example)
    epochs = train(models[1], data, recipe, seed=0, measure=True, quiet=True)
    assert record.accuracy.fine_tuned == evaluate(models[1], data) == epochs[-1].test_accuracy
    assert [epoch.train_loss for epoch in record.epochs] == [epoch.train_loss for epoch in epochs]


def test_a_record_counts_before_and_after(inputs: Inputs, data: ImageData, base: BaseModel) -> None:
    run = inputs()[0]
    record = run_one(run, data, base, quiet=True)
    assert record.inputs == run
    assert record.before.flops == count_flops(base.model, data.example)
    assert record.before.params == count_params(base.model)
    assert list(record.before.widths.values()) == [4, 4, 6, 6, 8, 8, 10]
    assert record.flops_target == pytest.approx(0.6 * record.before.flops)
    assert record.after.flops == pytest.approx(record.flops_target, abs=0.1 * record.before.flops)
    assert record.removed is not None
    for name, width in record.before.widths.items():
        assert record.after.widths[name] == width - len(record.removed.get(name, ()))
    assert (record.train_images, record.test_images) == (1347, 450)
    assert record.base_weights_hash == base.weights_hash
    assert record.latency == ()
    assert 0 < record.seconds_to_score < record.seconds_total
    assert record.peak_bytes_to_score is not None
    assert record.peak_bytes_to_score >= 0
    assert RunRecord.model_validate_json(record.model_dump_json()) == record


def test_without_fine_tuning_and_adjusted_statistics(inputs: Inputs, data: ImageData, base: BaseModel) -> None:
    run = inputs(conditions={"finetune_recipe": Recipe(epochs=0, learning_rate=1)})[1]
    accuracy = run_one(run, data, base).accuracy
    assert (accuracy.one_shot_bn, accuracy.fine_tuned, accuracy.best_epoch) == (None, None, None)


def test_the_last_epoch_counts_and_the_best_is_kept_beside_it(
    inputs: Inputs, data: ImageData, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = [Epoch(train_loss=1.0, test_accuracy=share, seconds=1.0) for share in (0.5, 0.75, 0.75, 0.25)]
    monkeypatch.setattr(single_run, "train", lambda *args, **kwargs: epochs)
    record = run_one(inputs()[1], data, base)
    assert record.epochs == tuple(epochs)
    assert record.accuracy.fine_tuned == 0.25
    assert record.accuracy.best_epoch is not None
    assert (record.accuracy.best_epoch.epoch, record.accuracy.best_epoch.accuracy) == (2, 0.75)


def test_latency_of_base_and_pruned_model_at_every_batch_size(inputs: Inputs, data: ImageData, base: BaseModel) -> None:
    first, second = run_one(inputs(conditions={"latency_batches": [1, 256]})[1], data, base, quiet=True).latency
    assert (first.batch_size, second.batch_size) == (1, 256)
    assert 0 < first.before < second.before
    assert 0 < first.after < second.after


def test_a_criterion_with_a_rule_stops_by_its_rule(inputs: Inputs, data: ImageData, base: BaseModel) -> None:
    rule = Rule(neighbors=2, threshold=0.1)
    criteria = [CriterionSpec(name="foad", rule=rule, label="paper"), CriterionSpec(name="l1")]
    by_rule, l1 = (
        run_one(run, data, base, quiet=True)
        for run in inputs(criteria=criteria, targets=[Target(operating_point=rule)])
    )
    model = copy.deepcopy(base.model)
    report = prune(model, data.calibration(16, seed=0)[0], 2, 0.1, measure_latency=False)
    assert report.removed > 0
    assert by_rule.removed == {group.name: tuple(sorted(group.selection.removed)) for group in report.groups}
    assert by_rule.after.flops == count_flops(model, data.example)
    assert by_rule.seconds_to_score > 0
    assert l1.after.flops == pytest.approx(by_rule.after.flops, abs=0.1 * l1.before.flops)
    assert (by_rule.flops_target, l1.flops_target) == (None, None)


def test_a_criterion_with_a_rule_has_no_target_in_a_stability_suite(
    inputs: Inputs, data: ImageData, base: BaseModel
) -> None:
    criteria = [CriterionSpec(name="foad", rule=Rule())]
    run = inputs(criteria=criteria, kind="stability", image_counts=(8, 16))[0]
    assert run.setup.conditions.target.flops_reduction == 0.4
    assert run_one(run, data, base, quiet=True).flops_target is None


@pytest.mark.parametrize("name", ["ablation", "cifar10-resnet56", "cifar10-vgg16", "stability"])
def test_each_shape_of_suite_runs_cut_down(inputs: Inputs, data: ImageData, base: BaseModel, name: str) -> None:
    suite, tiny = find_suite(name), inputs()[0].setup.conditions
    own = {part: getattr(tiny, part) for part in ("dataset", "model")}
    conditions = {**own, "ignored_layers": (), "tolerance": 0.2}
    small = Suite.model_validate({**dict(suite), "conditions": {**dict(suite.conditions), **conditions}}).smoke()
    runs = plan(small, data, VERSIONS)
    # One of each kind of entry in every table.
    chosen = {(run.setup.key, run.criterion.rule is None): run for run in runs}
    for run in chosen.values():
        record = run_one(run, data, base, quiet=True)
        assert len(record.epochs) == min(1, suite.conditions.finetune_recipe.epochs)
        assert record.inputs.setup.kind == suite.kind
