"""What every registered criterion must do; a new one is tested by being registered."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance
from foad_plugins.benchmarks.criteria import CRITERIA, CriterionContext, CriterionSpec, build_criterion
from foad_plugins.criterion.ordering import ORDERS

from ..conftest import GroupOf

PLACES = [("chain", "conv1"), ("chain", "conv2"), ("residual", "stem"), ("depthwise", "depthwise")]
RUNS_THE_NETWORK = {"chip", "foad", "hrank", "taylor", "thinet"}
DATA_DRIVEN = pytest.mark.parametrize("name", sorted(RUNS_THE_NETWORK - {"foad"}))
EVERY = pytest.mark.parametrize("name", CRITERIA.names())


def build(name: str, context: CriterionContext) -> Callable[[tp.Group], torch.Tensor]:
    return build_criterion(CriterionSpec(name=name), context)


@pytest.fixture(params=PLACES, ids=[f"{network}-{layer}" for network, layer in PLACES])
def place(request: pytest.FixtureRequest) -> tuple[nn.Module, str]:
    """A network and the layer that a group of it is rooted at."""
    network, layer = request.param
    return request.getfixturevalue(network), layer


@EVERY
def test_one_finite_score_for_each_channel(
    name: str, place: tuple[nn.Module, str], group_of: GroupOf, context: CriterionContext
) -> None:
    model, layer = place
    scores = build(name, context)(group_of(model, layer))
    assert scores.shape == (model.get_submodule(layer).out_channels,)
    assert scores.is_floating_point()
    assert not scores.requires_grad
    assert scores.isfinite().all()
    assert scores.unique().numel() > 1


@EVERY
def test_channels_come_in_the_groups_order(
    name: str, place: tuple[nn.Module, str], group_of: GroupOf, context: CriterionContext
) -> None:
    if name == "random":
        pytest.skip("random scores go by place, not by channel")
    model, layer = place
    whole = build(name, context)(group_of(model, layer))
    order = [2, 0, 3, 1]
    assert torch.equal(build(name, context)(group_of(model, layer, order)), whole[order])


@EVERY
def test_equal_inputs_give_equal_scores(
    name: str, place: tuple[nn.Module, str], group_of: GroupOf, context: CriterionContext
) -> None:
    model, layer = place
    torch.manual_seed(1)
    first = build(name, context)(group_of(model, layer))
    torch.manual_seed(2)
    again = CriterionContext(context.images.clone(), context.seed, context.labels.clone())
    second = build(name, again)(group_of(copy.deepcopy(model), layer))
    assert torch.equal(first, second)


@EVERY
def test_threads_change_next_to_nothing(
    name: str, place: tuple[nn.Module, str], group_of: GroupOf, context: CriterionContext
) -> None:
    model, layer = place
    group = group_of(model, layer)
    first = build(name, context)(group)
    torch.set_num_threads(2)
    second = build(name, context)(group)
    assert torch.allclose(first, second, rtol=1e-3, atol=1e-6)


@EVERY
def test_a_network_in_train_mode_scores_as_in_eval_mode(
    name: str, place: tuple[nn.Module, str], group_of: GroupOf, context: CriterionContext
) -> None:
    model, layer = place
    group = group_of(model, layer)
    expected = build(name, context)(group)
    assert torch.equal(build(name, context)(group_of(model.train(), layer)), expected)


@EVERY
def test_the_size_of_batches_changes_next_to_nothing(
    name: str, place: tuple[nn.Module, str], group_of: GroupOf, context: CriterionContext
) -> None:
    if "batch_size" not in CRITERIA.complete(CriterionSpec(name=name)).settings:
        pytest.skip("it has no batches")
    model, layer = place
    group = group_of(model, layer)
    scores = [
        build_criterion(CriterionSpec(name=name, settings={"batch_size": size}), context)(group) for size in (1, 5, 100)
    ]
    assert torch.allclose(scores[0], scores[2], rtol=1e-3, atol=1e-6)
    assert torch.allclose(scores[1], scores[2], rtol=1e-3, atol=1e-6)


class Traces:
    """Everything about a network, its images and the process that scoring could leave a trace in."""

    def __init__(self, model: nn.Module, context: CriterionContext) -> None:
        self.model = model
        self.context = context
        self.before = self._now()

    def check(self) -> None:
        for what, value in self._now().items():
            before = self.before[what]
            assert len(value) == len(before), what
            for now, then in zip(value, before, strict=True):
                same = torch.equal(now, then) if isinstance(now, torch.Tensor) else now == then
                assert same, what

    def _now(self) -> dict[str, list[object]]:
        parameters, modules = list(self.model.parameters()), list(self.model.modules())
        return {
            "values": [tensor.detach().clone() for tensor in (*parameters, *self.model.buffers())],
            "identities": [id(tensor) for tensor in (*parameters, *self.model.buffers())],
            ".grad": [id(parameter.grad) for parameter in parameters],
            "requires_grad": [parameter.requires_grad for parameter in parameters],
            "flags": [module.training for module in modules],
            "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules],
            "images": [self.context.images.clone(), self.context.labels.clone()],
            "random state": [torch.get_rng_state(), random.getstate(), tuple(np.random.get_state()[1])],
            "settings": [torch.is_grad_enabled(), torch.get_num_threads(), torch.is_inference_mode_enabled()],
        }


@pytest.fixture
def half_way(place: tuple[nn.Module, str]) -> tuple[nn.Module, str]:
    """A network in the middle of something: mixed modes, a gradient, a frozen layer, a hook."""
    model, layer = place
    model.train()
    root = model.get_submodule(layer)
    root.eval()
    root.weight.requires_grad_(False)
    model.classifier.weight.grad = torch.ones_like(model.classifier.weight)
    model.classifier.register_forward_hook(lambda module, args, output: None)
    return model, layer


@EVERY
def test_no_trace_is_left(
    name: str, half_way: tuple[nn.Module, str], group_of: GroupOf, context: CriterionContext
) -> None:
    model, layer = half_way
    group = _traced(group_of, model, layer)
    traces = Traces(model, context)
    assert build(name, context)(group).isfinite().all()
    traces.check()


@EVERY
def test_no_trace_is_left_by_a_failure(
    name: str, half_way: tuple[nn.Module, str], group_of: GroupOf, context: CriterionContext
) -> None:
    model, layer = half_way
    group = _traced(group_of, model, layer)
    expected = build(name, context)(group)
    fails = model.classifier.register_forward_pre_hook(_fail)
    scorer = build(name, context)
    traces = Traces(model, context)
    if name in RUNS_THE_NETWORK:
        with pytest.raises(_ScriptedError):
            scorer(group)
        traces.check()
    fails.remove()
    assert torch.equal(scorer(group), expected)


class _ScriptedError(RuntimeError):
    pass


def _fail(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
    raise _ScriptedError


def _traced(group_of: GroupOf, model: nn.Module, layer: str) -> tp.Group:
    """A group of a network that has a frozen layer, which Torch-Pruning cannot trace."""
    frozen = model.get_submodule(layer).weight
    state = copy.deepcopy(model.state_dict())
    frozen.requires_grad_(True)
    group = group_of(model, layer)
    frozen.requires_grad_(False)
    # Tracing in train mode moves the statistics of batch normalization.
    model.load_state_dict(state)
    return group


@EVERY
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no-grad", "inference"])
def test_the_callers_gradient_mode_changes_nothing(
    name: str,
    mode: Callable[[], Any],
    place: tuple[nn.Module, str],
    group_of: GroupOf,
    context: CriterionContext,
) -> None:
    model, layer = place
    group = group_of(model, layer)
    expected = build(name, context)(group)
    with mode():
        assert torch.equal(build(name, context)(group), expected)


@EVERY
def test_maps_with_nan_name_a_layer(name: str, group_of: GroupOf, chain: nn.Module, context: CriterionContext) -> None:
    group = group_of(chain, "conv2")
    chain.bn2.bias.data[0] = torch.nan
    if name in RUNS_THE_NETWORK:
        # Some read the maps where they are made, some where they are read.
        with pytest.raises(ValueError, match=r"'(conv2|classifier)'.*NaN"):
            build(name, context)(group)
    else:
        assert build(name, context)(group).isfinite().all()


@EVERY
def test_a_group_after_the_last_layer_is_scored_or_gets_none(
    name: str, group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    scores = build(name, context)(group_of(chain, "classifier"))
    assert scores is None or scores.shape == (3,)


@DATA_DRIVEN
def test_a_layer_that_never_runs_is_named(
    name: str, group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    group = group_of(chain, "conv2")
    chain.forward = lambda x: chain.conv1(x).mean((2, 3))
    with pytest.raises(ValueError, match=r"'(conv2|classifier)'.*not run"):
        build(name, context)(group)


@DATA_DRIVEN
def test_all_groups_share_one_pass_until_the_network_changes(
    name: str, group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    groups = [group_of(chain, "conv1"), group_of(chain, "conv2")]
    calls = []
    chain.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    criterion = build_criterion(CriterionSpec(name=name, settings={"batch_size": 12}), context)
    for group in groups:
        criterion(group)
    assert calls == [12]
    with torch.no_grad():
        chain.conv1.weight.mul_(2)
    for group in groups:
        criterion(group)
    assert calls == [12, 12]


@DATA_DRIVEN
def test_images_are_needed_and_batches_of_them(name: str, context: CriterionContext) -> None:
    with pytest.raises(ValueError, match="batch_size: at least 1"):
        build_criterion(CriterionSpec(name=name, settings={"batch_size": 0}), context)
    with pytest.raises(ValueError, match="images: .* needs at least one calibration image"):
        build(name, CriterionContext(context.images[:0], 0, context.labels[:0]))


@EVERY
def test_unknown_settings_are_refused(name: str, context: CriterionContext) -> None:
    with pytest.raises(ValueError, match=f"{name}.*no_such_setting"):
        build_criterion(CriterionSpec(name=name, settings={"no_such_setting": 1}), context)


@pytest.mark.parametrize("settings", [{"neighbors": 0}, {"threshold": 1.5}, {"order": "sideways"}])
def test_foad_refuses_settings_out_of_range(settings: dict[str, object], context: CriterionContext) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        build_criterion(CriterionSpec(name="foad", settings=settings), context)


@pytest.mark.parametrize("order", ORDERS)
def test_foad_has_every_order_of_the_core(
    order: str, group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    group = group_of(chain, "conv1")
    scores = build_criterion(CriterionSpec(name="foad", settings={"order": order}), context)(group)
    assert torch.equal(scores, FOADImportance(context.images, order=order)(group))


def test_foad_hands_its_settings_and_images_on(group_of: GroupOf, chain: nn.Module, context: CriterionContext) -> None:
    spec = CriterionSpec(name="foad", settings={"neighbors": 3, "threshold": 0.2, "order": "rounds"})
    ours = build_criterion(spec, context)
    assert (ours.neighbors, ours.threshold, ours.order) == (3, 0.2, "rounds")
    group = group_of(chain, "conv1")
    expected = FOADImportance(context.images, neighbors=3, threshold=0.2, order="rounds")(group)
    assert torch.equal(ours(group), expected)


def test_random_differs_between_seeds_and_groups(
    group_of: GroupOf, chain: nn.Module, context: CriterionContext
) -> None:
    group = group_of(chain, "conv1")
    scorer = build("random", context)
    first, second = scorer(group), scorer(group)
    other = build("random", CriterionContext(context.images, context.seed + 1))(group)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
