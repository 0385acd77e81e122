from __future__ import annotations

import pytest

from foad_plugins.benchmarks.models import MODELS
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.report.data.published import published, published_networks
from foad_plugins.benchmarks.report.text.tables import published_table
from foad_plugins.benchmarks.suites.schema import Conditions

from ...conftest import MakeRecord
from ..conftest import cells


def conditions(make_record: MakeRecord, model: str, dataset: str, **settings: object) -> Conditions:
    named = {"model": Spec(name=model), "dataset": Spec(name=dataset, settings=settings)}
    return make_record(conditions=named).inputs.setup.conditions


@pytest.mark.parametrize("model", ["resnet56", "foad-resnet56"])
def test_shown_for_the_network_and_data_they_are_of(model: str, make_record: MakeRecord) -> None:
    for dataset, settings in (("cifar10-npz", {}), ("cifar10", {}), ("image-folder", {"folder": "data/cifar10_jpeg"})):
        found = published(conditions(make_record, model, dataset, **settings))
        assert found is not None
        assert found.network == "ResNet-56 on CIFAR-10"
    assert published(conditions(make_record, model, "cifar100")) is None
    assert published(conditions(make_record, "digits-vgg", "digits")) is None


def test_the_papers_headline_is_among_them(make_record: MakeRecord) -> None:
    network = published(conditions(make_record, "vgg16-cifar", "cifar10-npz"))
    assert network is not None
    (foad,) = [result for result in network.results if result.method == "FOAD"]
    assert (foad.accuracy, foad.params_reduction, foad.flops_reduction) == (93.81, 87.1, 63.7)


def test_every_result_has_a_source_and_a_figure() -> None:
    for network in published_networks():
        for result in network.results:
            assert result.source
            assert result.accuracy is not None or result.accuracy_change is not None


def test_names_of_models_are_known() -> None:
    known = {name for network in published_networks() for name in network.models} & set(MODELS.names())
    assert {"vgg16-cifar", "resnet56", "foad-resnet56", "resnet110", "foad-resnet110"} <= known


def test_cells_are_in_italics_and_blank_where_the_paper_is_silent(make_record: MakeRecord) -> None:
    network = published(conditions(make_record, "resnet56", "cifar10"))
    assert network is not None
    rows = published_table(network).splitlines()[2:]
    (chip,) = [cells(row) for row in rows if "*CHIP*" in row]
    assert chip == ["*CHIP*", "", "*+0.75*", "*-42.8*", "*-47.4*", "", "*Sui et al., NeurIPS 2021*"]
