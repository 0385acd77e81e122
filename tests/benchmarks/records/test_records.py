from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from foad_plugins.benchmarks.criteria import CriterionSpec
from foad_plugins.benchmarks.criteria.spec import Rule
from foad_plugins.benchmarks.records.schema import RunInputs, RunRecord, upgraded
from foad_plugins.benchmarks.suites.targets import Target

from ..conftest import MakeRecord


def test_every_input_counts_for_the_key(make_record: MakeRecord) -> None:
    inputs = make_record().inputs
    setup = inputs.setup
    others = [
        inputs.model_copy(update={"seed": 1}),
        inputs.model_copy(update={"criterion": CriterionSpec(name="l1", settings={"x": 1})}),
        inputs.model_copy(update={"criterion": CriterionSpec(name="l1", compensate="least_squares")}),
        inputs.model_copy(update={"criterion": CriterionSpec(name="l1", reestimate_bn=True)}),
        make_record(setup={"weights_hash": "a" * 64}).inputs,
        make_record(setup={"pruner": "prune"}).inputs,
        inputs.model_copy(update={"setup": setup.model_copy(update={"data_hash": "e" * 64})}),
        inputs.model_copy(
            update={"setup": setup.model_copy(update={"versions": setup.versions.model_copy(update={"torch": "9"})})}
        ),
        with_versions(inputs, method=2),
        make_record(conditions={"target": Target(flops_reduction=0.41)}).inputs,
        make_record(conditions={"latency_batches": (1,)}).inputs,
        make_record(setup={"ranking": "global"}).inputs,
        make_record(setup={"kind": "stability"}).inputs,
        make_record(setup={"device": "cuda"}).inputs,
        make_record(setup={"devices": 2}).inputs,
        make_record(setup={"precision": "bf16-mixed"}).inputs,
        make_record(entry={"rule": Rule(threshold=0.1)}, criterion="foad").inputs,
    ]
    assert len({one.key for one in (inputs, *others)}) == 1 + len(others)
    assert len({one.file_name for one in (inputs, *others)}) == 1 + len(others)


def with_versions(inputs: RunInputs, **versions: Any) -> RunInputs:
    changed = inputs.setup.versions.model_copy(update=versions)
    return inputs.model_copy(update={"setup": inputs.setup.model_copy(update={"versions": changed})})


def test_a_release_of_the_package_changes_no_key(make_record: MakeRecord) -> None:
    inputs = make_record().inputs
    released = with_versions(inputs, foad_plugins="7.0.0")
    assert released.key == inputs.key
    assert released.setup.key == inputs.setup.key
    assert released.setup.key_without("target") == inputs.setup.key_without("target") != inputs.setup.key
    assert released.file_name == inputs.file_name


def test_the_file_name_is_safe_whatever_the_label(make_record: MakeRecord) -> None:
    inputs = make_record().inputs
    spec = CriterionSpec(name="l1", label="../L1 (p=1)")
    name = inputs.model_copy(update={"criterion": spec}).file_name
    assert name.startswith("---L1--p-1--seed0-")
    assert name.endswith(f"{inputs.model_copy(update={'criterion': spec}).key[:16]}.json")


def test_a_record_of_a_criterion_that_is_not_registered_here_can_be_read(make_record: MakeRecord) -> None:
    record = make_record(criterion="somebody-elses")
    assert RunRecord.model_validate_json(record.model_dump_json()).inputs.criterion.settings == {}


def old_record(record: RunRecord, version: int) -> dict[str, Any]:
    """A record as versions 1 and 2 wrote it."""
    content = record.model_dump(mode="json") | {"schema_version": version}
    setup, criterion, accuracy = content["inputs"]["setup"], content["inputs"]["criterion"], content["accuracy"]
    conditions = setup["conditions"]
    conditions["flops_reduction"] = conditions.pop("target")["flops_reduction"]
    new: list[tuple[dict[str, Any], list[str]]] = [
        (content, ["epochs", "latency", "removed", "peak_bytes_to_score"]),
        (content["environment"], ["processor", "packages"]),
        (setup, ["kind", "ranking", "devices", "precision"]),
        (conditions, ["ignored_layers", "latency_batches", "limit_steps"]),
        (conditions["finetune_recipe"], ["channels_last", "warmup_epochs"]),
        (criterion, ["rule"]),
        (accuracy, ["best_epoch"]),
    ]
    if version == 1:
        new += [
            (setup, ["weights_hash", "pruner", "reference"]),
            (conditions, ["base_weights"]),
            (conditions["finetune_recipe"], ["augmentation"]),
            (criterion, ["compensate", "reestimate_bn"]),
            (accuracy, ["one_shot_bn"]),
        ]
    for part, fields in new:
        for field in fields:
            del part[field]
    return content


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_record_gets_the_defaults_of_its_time(make_record: MakeRecord, version: int) -> None:
    content = old_record(make_record(conditions={"target": Target(flops_reduction=0.45)}), version)
    before = json.dumps(content)
    record = RunRecord.model_validate(upgraded(content))
    assert json.dumps(content) == before
    assert record.schema_version == 3
    setup, criterion = record.inputs.setup, record.inputs.criterion
    assert setup.pruner == "one ratio"
    assert (setup.kind, setup.ranking, setup.devices, setup.precision) == ("comparison", "local", 1, "32-true")
    assert setup.conditions.target == Target(flops_reduction=0.45)
    assert setup.conditions.latency_batches == ()
    assert setup.conditions.finetune_recipe.augmentation == "none"
    assert not setup.conditions.finetune_recipe.channels_last
    assert (criterion.compensate, criterion.reestimate_bn, criterion.rule) == (None, False, None)
    assert (record.accuracy.one_shot_bn, record.accuracy.best_epoch) == (None, None)
    assert (record.epochs, record.latency, record.removed) == ((), (), None)


def test_a_record_of_today_is_not_touched(make_record: MakeRecord) -> None:
    content = make_record().model_dump(mode="json")
    assert upgraded(content) is content


@pytest.mark.parametrize("inputs", [None, 3, [], {"setup": None}, {"setup": {"conditions": "x"}}])
def test_an_older_record_that_is_none_is_refused_and_no_more(make_record: MakeRecord, inputs: object) -> None:
    content = old_record(make_record(), 2) | {"inputs": inputs}
    with pytest.raises(ValidationError, match="inputs"):
        RunRecord.model_validate(upgraded(content))
