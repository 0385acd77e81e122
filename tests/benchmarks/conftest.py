from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
import torch_pruning as tp
from safetensors.torch import save_file
from torch import nn

from foad_plugins.benchmarks.criteria import CRITERIA, CriterionContext, CriterionSpec
from foad_plugins.benchmarks.criteria.register import as_factory
from foad_plugins.benchmarks.models import build_model
from foad_plugins.benchmarks.records.environment import Environment, Versions
from foad_plugins.benchmarks.records.schema import Accuracies, Cost, RunInputs, RunRecord, Setup
from foad_plugins.benchmarks.registry.registry import Spec
from foad_plugins.benchmarks.suites.schema import Conditions, Suite, SuiteConditions
from foad_plugins.benchmarks.suites.targets import Target
from foad_plugins.benchmarks.training.recipe import Recipe
from tests.networks.gray_networks import GrayChain, GrayDepthwise, GrayResidual

GroupOf: TypeAlias = Callable[..., tp.Group]
AddCriterion: TypeAlias = Callable[[str, Callable[..., Any]], CriterionSpec]
MakeRecord: TypeAlias = Callable[..., RunRecord]


@pytest.fixture
def chain() -> nn.Module:
    return _shaken(GrayChain())


@pytest.fixture
def residual() -> nn.Module:
    return _shaken(GrayResidual())


@pytest.fixture
def depthwise() -> nn.Module:
    return _shaken(GrayDepthwise())


def _shaken(model: nn.Module) -> nn.Module:
    """Seeded weights, and BN parameters and statistics that are not the neutral ones of a new network."""
    random = torch.Generator().manual_seed(0)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(torch.randn(tensor.shape, generator=random) * 0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.abs_().add_(0.1)
    return model.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def context(images: torch.Tensor) -> CriterionContext:
    return CriterionContext(images=images, seed=3, labels=torch.arange(len(images)) % 3)


@pytest.fixture
def group_of() -> GroupOf:
    """A function (model, layer name, channels) -> Torch-Pruning group rooted at that layer's outputs."""

    def make(model: nn.Module, name: str, channels: list[int] | None = None) -> tp.Group:
        graph = tp.DependencyGraph().build_dependency(model, (torch.zeros(1, 1, 8, 8),))
        layer = model.get_submodule(name)
        width = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
        function = tp.prune_conv_out_channels if isinstance(layer, nn.Conv2d) else tp.prune_linear_out_channels
        if isinstance(layer, nn.Conv2d) and layer.groups == width > 1:
            function = tp.prune_depthwise_conv_out_channels
        return graph.get_pruning_group(layer, function, list(range(width)) if channels is None else channels)

    return make


@pytest.fixture
def tiny_suite() -> Suite:
    """A suite whose every run takes a fraction of a second."""
    return Suite(
        name="tiny",
        description="for tests",
        conditions=SuiteConditions(
            dataset=Spec(name="digits"),
            model=Spec(name="digits-vgg", settings={"widths": (4, 6, 8)}),
            base_recipe=Recipe(epochs=2, learning_rate=0.05, batch_size=256),
            finetune_recipe=Recipe(epochs=1, learning_rate=0.02, batch_size=256),
            calibration_images=16,
            tolerance=0.1,
            latency_batches=(),
        ),
        targets=(Target(flops_reduction=0.4),),
        criteria=(CriterionSpec(name="foad"), CriterionSpec(name="l1")),
        seeds=1,
    )


@pytest.fixture
def given_suite(tiny_suite: Suite, data_root: Path) -> Suite:
    """The tiny suite on weights from a file under ``data_root``, with a compensated entry."""
    conditions = {**dict(tiny_suite.conditions), "base_recipe": None, "base_weights": "weights/small.safetensors"}
    criteria = (
        CriterionSpec(name="l1", reestimate_bn=True),
        CriterionSpec(name="l1", label="l1+ls", reestimate_bn=True, compensate="least_squares"),
    )
    changes = {"name": "given", "conditions": conditions, "criteria": criteria, "reference": "l1"}
    return Suite.model_validate({**dict(tiny_suite), **changes})


@pytest.fixture
def data_root(tiny_suite: Suite, tmp_path: Path) -> Path:
    """A user's folder with weights of the tiny suite's model in it."""
    folder = tmp_path / "data-root"
    (folder / "weights").mkdir(parents=True)
    save_file(build_model(tiny_suite.conditions.model, seed=5).state_dict(), folder / "weights" / "small.safetensors")
    return folder


@pytest.fixture
def add_criterion(monkeypatch: pytest.MonkeyPatch) -> AddCriterion:
    """A function that registers a criterion until the end of the test; returns its entry of a suite."""

    def add(name: str, criterion: Callable[..., Any]) -> CriterionSpec:
        monkeypatch.setitem(CRITERIA._factories, name, as_factory(criterion))
        return CriterionSpec(name=name)

    return add


@pytest.fixture
def make_record(tiny_suite: Suite) -> MakeRecord:
    """A function that makes a record by hand; keyword arguments are what matters to a test."""
    versions = Versions(foad_plugins="1", torch="2", torch_pruning="3", fvcore="4")
    start = datetime(2024, 1, 1, tzinfo=timezone.utc)

    def make(
        criterion: str = "l1",
        seed: int = 0,
        accuracy: tuple[float, float, float | None] = (0.9, 0.5, 0.8),
        minute: int = 0,
        *,
        one_shot_bn: float | None = None,
        entry: dict[str, Any] | None = None,
        **changes: Any,
    ) -> RunRecord:
        base, one_shot, fine_tuned = accuracy
        conditions = Conditions(**dict(tiny_suite.conditions), target=tiny_suite.targets[0])
        setup = Setup(
            suite="tiny",
            conditions=conditions.model_copy(update=changes.pop("conditions", {})),
            data_hash="d" * 64,
            versions=versions,
        ).model_copy(update=changes.pop("setup", {}))
        record = RunRecord(
            inputs=RunInputs(setup=setup, criterion=CriterionSpec(name=criterion, **entry or {}), seed=seed),
            environment=Environment(python="3", platform="Linux", threads=1, git_commit=None),
            created=start + timedelta(minutes=minute),
            base_weights_hash="b" * 64,
            train_images=1000,
            test_images=400,
            accuracy=Accuracies(base=base, one_shot=one_shot, one_shot_bn=one_shot_bn, fine_tuned=fine_tuned),
            before=Cost(params=2000, flops=4_000_000, widths={"conv": 8}),
            after=Cost(params=500, flops=1_000_000, widths={"conv": 4}),
            flops_target=1_000_000,
            pruning_ratio=0.5,
            seconds_to_score=0.25,
            seconds_total=1.5,
        )
        return record.model_copy(update=changes)

    return make
