from __future__ import annotations

import pytest
from pydantic import ValidationError

from foad_plugins.benchmarks.criteria import CriterionSpec
from foad_plugins.benchmarks.records import RunRecord

from .conftest import MakeRecord


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
        make_record(conditions={"flops_reduction": 0.41}).inputs,
    ]
    assert len({one.key for one in (inputs, *others)}) == 10
    assert len({one.file_name for one in (inputs, *others)}) == 10


def test_circumstances_and_results_do_not_count_for_the_key(make_record: MakeRecord) -> None:
    first = make_record()
    second = make_record(minute=5, accuracy=(0.1, 0.1, None), seconds_total=9.0)
    assert first.inputs.key == second.inputs.key


def test_the_file_name_is_safe_whatever_the_label(make_record: MakeRecord) -> None:
    inputs = make_record().inputs
    spec = CriterionSpec(name="l1", label="../L1 (p=1)")
    name = inputs.model_copy(update={"criterion": spec}).file_name
    assert name.startswith("---L1--p-1--seed0-")
    assert name.endswith(f"{inputs.model_copy(update={'criterion': spec}).key[:16]}.json")


def test_json_gives_the_record_back(make_record: MakeRecord) -> None:
    record = make_record()
    assert RunRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("test_images", 0),
        ("seconds_to_score", -1),
        ("pruning_ratio", 1.0),
        ("schema_version", 3),
        ("surprise", 1),
    ],
)
def test_impossible_values_are_refused(make_record: MakeRecord, field: str, value: object) -> None:
    content = make_record().model_dump(mode="json") | {field: value}
    with pytest.raises(ValidationError, match=field):
        RunRecord.model_validate(content)


def test_accuracy_is_a_fraction(make_record: MakeRecord) -> None:
    content = make_record().model_dump(mode="json")
    content["accuracy"]["base"] = 93.0
    with pytest.raises(ValidationError, match=r"accuracy\.base"):
        RunRecord.model_validate(content)


def test_a_record_of_a_criterion_that_is_not_registered_here_can_be_read(make_record: MakeRecord) -> None:
    record = make_record(criterion="somebody-elses")
    assert RunRecord.model_validate_json(record.model_dump_json()).inputs.criterion.settings == {}


def test_a_record_of_version_1_says_what_was_the_case_then(make_record: MakeRecord) -> None:
    content = make_record().model_dump(mode="json") | {"schema_version": 1}
    setup, criterion, accuracy = content["inputs"]["setup"], content["inputs"]["criterion"], content["accuracy"]
    for part, fields in (
        (setup, ("weights_hash", "pruner", "reference")),
        (setup["conditions"], ("base_weights",)),
        (setup["conditions"]["finetune_recipe"], ("augmentation",)),
        (criterion, ("compensate", "reestimate_bn")),
        (accuracy, ("one_shot_bn",)),
    ):
        for field in fields:
            del part[field]
    record = RunRecord.model_validate(content)
    assert record.schema_version == 1
    assert record.inputs.setup.pruner == "one ratio"
    assert record.inputs.setup.conditions.finetune_recipe.augmentation == "none"
    assert (record.inputs.criterion.compensate, record.inputs.criterion.reestimate_bn) == (None, False)
    assert record.accuracy.one_shot_bn is None
