from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from foad_plugins.benchmarks.datasets import ImageData
from foad_plugins.benchmarks.training.cuda_graphs import GraphedObjective
from foad_plugins.benchmarks.training.hardware import Hardware, HardwareError
from foad_plugins.benchmarks.training.objectives import ArcFace, Distillation, Labels, Objective
from foad_plugins.benchmarks.training.recipe import Recipe
from foad_plugins.benchmarks.training.train import train

LABELS = torch.tensor([0, 1, 1, 0])
Loss = Callable[..., torch.Tensor]


class Capture:
    """What stands in for a capture where there is no GPU: it runs ahead and counts what it replays."""

    def __init__(self) -> None:
        self.captured: list[torch.Size] = []
        self.replays = 0

    def __call__(self, loss: Loss, arguments: tuple[torch.Tensor, ...], **options: Any) -> Loss:
        assert not torch.is_autocast_cache_enabled()
        # flags() of cuDNN switches it off unless it is told not to.
        assert torch.backends.cudnn.enabled
        self.captured.append(arguments[0].shape)
        self.gradients = torch.autograd.grad(loss(*arguments), arguments[2:])

        def replay(*arguments: torch.Tensor) -> torch.Tensor:
            self.replays += 1
            return loss(*arguments)

        return replay


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Capture:
    found = Capture()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", found)
    return found


def network() -> nn.Module:
    torch.manual_seed(0)
    # The gradient of a bias before batch normalization is nothing but rounding, of which AdamW makes whole steps.
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def test_warm_up_passes_leave_no_trace(capture: Capture) -> None:
    objective = Labels(network()).train()
    before = copy.deepcopy(objective.state_dict())
    GraphedObjective(objective, torch.randn(4, 3, 8, 8), LABELS, "32-true")
    after = objective.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter.grad is None for parameter in objective.parameters())


def test_other_shapes_are_run_without_the_capture(capture: Capture) -> None:
    images = torch.randn(4, 3, 8, 8)
    objective = Labels(network()).train()
    plain = copy.deepcopy(objective)
    replayed = GraphedObjective(objective, images, LABELS, "32-true")
    assert capture.captured == [images.shape]
    for batch in (images, images[:3], images[:, :, :6], images):
        expected = plain(batch, LABELS[: len(batch)])
        assert torch.equal(replayed(batch, LABELS[: len(batch)]), expected)
    assert capture.replays == 2
    assert list(replayed.parameters()) == list(objective.parameters())


def test_gradients_reach_the_parameters_themselves(capture: Capture) -> None:
    images = torch.randn(4, 3, 8, 8)
    objective = Labels(network()).train()
    replayed = GraphedObjective(objective, images, LABELS, "32-true")
    replayed(images, LABELS).backward()
    for parameter, expected in zip(objective.parameters(), capture.gradients, strict=True):
        torch.testing.assert_close(parameter.grad, expected)


@pytest.mark.parametrize("kind", [Distillation, ArcFace])
def test_every_objective_is_replayed(capture: Capture, kind: type[Objective]) -> None:
    images = torch.randn(4, 3, 8, 8)
    torch.manual_seed(2)
    objective = Distillation(network(), network()) if kind is Distillation else ArcFace(network(), classes=2, width=4)
    if isinstance(objective, ArcFace):
        objective.draw(torch.Generator().manual_seed(0))
    plain = copy.deepcopy(objective.train())
    replayed = GraphedObjective(objective, images, LABELS, "32-true")
    loss, expected = replayed(images, LABELS), plain(images, LABELS)
    assert torch.equal(loss, expected)
    loss.backward()
    expected.backward()
    for one, other in zip(objective.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("hardware", [{"device": "cpu"}, {"device": "cuda", "devices": 2}])
def test_it_is_for_one_gpu(hardware: dict[str, Any]) -> None:
    with pytest.raises(HardwareError, match="cuda_graphs: they are of a single GPU"):
        Hardware(**hardware, cuda_graphs=True).check()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_gpu_trains_the_same_with_and_without(optimizer: str) -> None:
    torch.manual_seed(1)
    images, labels = torch.randn(42, 3, 8, 8), torch.randint(0, 4, (42,))
    data = ImageData(images, labels, images, labels, num_classes=4)
    recipe = Recipe(epochs=3, learning_rate=0.01, batch_size=8, optimizer=optimizer, channels_last=True)
    weights = []
    for graphs in (False, True):
        model = network().to("cuda")
        # A graph that somebody holds on to must not spoil the capture.
        alive = model(images[:8].to("cuda")).sum()
        train(model, data, recipe, seed=0, hardware=Hardware(device="cuda", cuda_graphs=graphs), quiet=True)
        del alive
        weights.append(torch.cat([value.flatten().float() for value in model.state_dict().values()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-4)
