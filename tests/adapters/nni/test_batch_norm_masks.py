from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from foad_plugins.adapters.nni.batch_norm_masks import batch_norm_masks, batch_norm_wrappers, mask_batch_norms
from foad_plugins.adapters.nni.compat import repair_nni
from tests.helpers.seeds import SEED, generator

pytestmark = [
    # NNI registers torch.fx's containers with torch's pytree a second time when it is imported.
    pytest.mark.filterwarnings(r"ignore:.*_register_pytree_node:FutureWarning"),
    pytest.mark.filterwarnings(r"ignore:.*is already registered as pytree node:UserWarning"),
    # NNI finds dependency groups with torch.jit.trace.
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\.\w+` is (deprecated|not supported):FutureWarning"),
    pytest.mark.filterwarnings(r"ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings(r"ignore:You are using `torch\.load` with `weights_only=False`:FutureWarning"),
    pytest.mark.filterwarnings(r"ignore:Node .* does not reference an nn\.Module:UserWarning"),
    # NNI 3.0 pins a release of typeguard that imports what Python 3.12 deprecates.
    pytest.mark.filterwarnings(r"ignore:ast\.\w+ is deprecated:DeprecationWarning"),
]

FAST = ("resnet18", "mobilenet_v3_small", "squeezenet1_0", "googlenet")
SLOW = (
    "resnet50",
    "resnext50_32x4d",
    "vgg11",
    "vgg16_bn",
    "alexnet",
    "mobilenet_v2",
    "densenet121",
    "inception_v3",
    "mnasnet1_0",
    "efficientnet_b0",
    "regnet_y_400mf",
    "fcn_resnet50",
)
SIZES = {"resnet18": 32, "googlenet": 32, "mobilenet_v3_small": 32, "inception_v3": 96}
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
    "fcn_resnet50": {"weights_backbone": None},
}
HEADS = {"squeezenet1_0": ["classifier.1"], "fcn_resnet50": ["classifier.4"]}
WITHOUT_NORM = {"vgg11", "alexnet", "squeezenet1_0"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread is fastest for small models."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def randomise(model: nn.Module) -> nn.Module:
    """Values as after training; at its initial values, batch normalization is the identity."""
    generator = torch.Generator().manual_seed(1)

    def fill(tensor: Tensor | None, low: float, high: float) -> None:
        if tensor is not None:
            tensor.data.uniform_(low, high, generator=generator)

    for module in model.modules():
        if isinstance(module, _BatchNorm):
            fill(module.weight, 0.5, 1.5)
            fill(module.bias, -1, 1)
            fill(module.running_mean, -0.5, 0.5)
            fill(module.running_var, 0.5, 2)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            fill(module.bias, -0.5, 0.5)
    return model.eval()


@torch.no_grad()
def run(model: nn.Module, images: Tensor) -> Tensor:
    output = model(images)
    return output["out"] if isinstance(output, dict) else output


def distance(output: Tensor, expected: Tensor) -> float:
    return float((output - expected).norm() / expected.norm())


def prune(kind: str, model: nn.Module, images: Tensor, exclude: list[str], ratio: float = 0.5) -> Any:
    repair_nni()
    from nni.compression import pruning
    from nni.compression.utils import auto_set_denpendency_group_ids

    config = [{"op_types": ["Conv2d"], "sparse_ratio": ratio, "exclude_op_names": exclude}]
    pruner = getattr(pruning, kind)(model, auto_set_denpendency_group_ids(model, config, images))
    pruner.compress()
    return pruner


@pytest.mark.parametrize("kind", ["L1NormPruner", "FPGMPruner"])
@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_the_masked_model_is_the_speedup_model(name: str, kind: str) -> None:
    models = pytest.importorskip("torchvision.models")
    model = randomise(models.get_model(name, weights=None, **OPTIONS.get(name, {})))
    size = SIZES.get(name, 64)
    images, others = torch.randn(2, 2, 3, size, size).unbind()
    before = sum(parameter.numel() for parameter in model.parameters())

    pruner = prune(kind, model, images, HEADS.get(name, []))
    as_nni_masks = run(model, others)
    masks = mask_batch_norms(pruner, images)
    masked = run(model, others)
    pruner.unwrap_model()
    from nni.compression.speedup import ModelSpeedup

    ModelSpeedup(model, images, masks).speedup_model()
    model.eval()

    assert sum(parameter.numel() for parameter in model.parameters()) < 0.7 * before
    assert distance(run(model, others), masked) < 1e-4
    if name not in WITHOUT_NORM:
        assert distance(as_nni_masks, masked) > 1e-2


def filters(module: Any, removed: set[int]) -> dict[str, Tensor]:
    mask = torch.ones_like(module.weight)
    mask[sorted(removed)] = 0
    return {"weight": mask}


def removed_channels(masks: dict[str, dict[str, Tensor]]) -> dict[str, set[int]]:
    """By layer; of a layer's masks, all must agree."""
    removed = {}
    for name, targets in masks.items():
        found = [set((mask.flatten() == 0).nonzero().flatten().tolist()) for mask in targets.values()]
        assert all(channels == found[0] for channels in found)
        removed[name] = found[0]
    return removed


class Net(nn.Module):
    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.rule = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.rule(self, x)


def find(net: nn.Module, removed: dict[str, set[int]], dummy_input: Any = None) -> dict[str, set[int]]:
    masks = {name: filters(net.get_submodule(name), channels) for name, channels in removed.items()}
    return removed_channels(
        batch_norm_masks(net, masks, torch.randn(2, 3, 8, 8) if dummy_input is None else dummy_input)
    )


def conv(inputs: int = 3, outputs: int = 4, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def two_norms() -> Net:
    layers = {"conv1": conv(), "norm1": nn.BatchNorm2d(4), "conv2": conv(4), "norm2": nn.BatchNorm2d(4)}
    return Net(lambda n, x: n.norm2(n.conv2(n.norm1(n.conv1(x)).relu())), **layers)


def test_the_norm_after_a_masked_layer() -> None:
    net = two_norms()
    assert find(net, {"conv1": {0, 2}}) == {"norm1": {0, 2}, "norm2": set()}
    assert find(net, {"conv1": {0, 2}, "conv2": {3}}) == {"norm1": {0, 2}, "norm2": {3}}


def test_parts_of_a_concatenation() -> None:
    net = Net(
        lambda n, x: n.norm(torch.cat([n.left(x), x, n.right(x)], 1)),
        left=conv(),
        right=conv(),
        norm=nn.BatchNorm2d(11),
    )
    assert find(net, {"left": {1}, "right": {0, 3}}) == {"norm": {1, 7, 10}}


def test_a_sum_is_removed_if_all_terms_are() -> None:
    net = Net(lambda n, x: n.norm(n.left(x) + n.right(x)), left=conv(), right=conv(), norm=nn.BatchNorm2d(4))
    assert find(net, {"left": {0, 1}, "right": {1, 2}}) == {"norm": {1}}
    assert find(net, {"left": {0, 1}}) == {"norm": set()}


def test_a_difference_does_not_cancel() -> None:
    net = Net(lambda n, x: n.norm(n.left(x) - n.right(x)), left=conv(), right=conv(), norm=nn.BatchNorm2d(4))
    assert find(net, {}) == {"norm": set()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU6(), nn.Hardswish(), nn.Sigmoid(), nn.SiLU(inplace=True), nn.Softplus()])
def test_through_activation_and_depthwise_convolution(activation: nn.Module, bias: bool) -> None:
    net = Net(
        lambda n, x: n.norm2(n.depthwise(n.activation(n.norm1(n.expand(x))))),
        expand=conv(),
        norm1=nn.BatchNorm2d(4),
        activation=activation,
        depthwise=conv(4, groups=4, bias=bias),
        norm2=nn.BatchNorm2d(4),
    )
    assert find(net, {"expand": {1, 3}}) == {"norm1": {1, 3}, "norm2": {1, 3}}


def test_a_grouped_convolution_is_removed_with_all_inputs_of_the_group() -> None:
    net = Net(
        lambda n, x: n.norm(n.grouped(n.conv(x))),
        conv=conv(),
        grouped=conv(4, 6, groups=2),
        norm=nn.BatchNorm2d(6),
    )
    assert find(net, {"conv": {0, 1, 2}}) == {"norm": {0, 1, 2}}


@pytest.mark.parametrize("gate", [torch.sigmoid, F.hardsigmoid, Tensor.sigmoid_])
def test_a_gated_channel(gate: Callable[[Tensor], Tensor]) -> None:
    net = Net(
        lambda n, x: n.norm2(n.norm1(y := n.conv(x)) * gate(n.excite(F.relu(n.squeeze(y.mean((2, 3), keepdim=True)))))),
        conv=conv(),
        norm1=nn.BatchNorm2d(4),
        squeeze=nn.Conv2d(4, 2, 1),
        excite=nn.Conv2d(2, 4, 1),
        norm2=nn.BatchNorm2d(4),
    )
    assert find(net, {"conv": {2}}) == {"norm1": {2}, "norm2": {2}}
    assert find(net, {"conv": {2}, "excite": {2}}) == {"norm1": {2}, "norm2": {2}}


def test_through_flattening_and_linear_layers() -> None:
    net = Net(
        lambda n, x: n.norm2(n.linear(n.norm1(n.conv(x).flatten(1)))),
        conv=conv(),
        norm1=nn.BatchNorm1d(256),
        linear=nn.Linear(256, 5),
        norm2=nn.BatchNorm1d(5),
    )
    assert find(net, {"conv": {1}, "linear": {0, 4}}) == {"norm1": set(range(64, 128)), "norm2": {0, 4}}


def test_transposed_convolutions_have_their_filters_in_the_second_dimension() -> None:
    net = Net(lambda n, x: n.norm(n.up(x)), up=nn.ConvTranspose2d(4, 6, 2, groups=2), norm=nn.BatchNorm2d(6))
    mask = torch.ones(4, 3, 2, 2)
    mask[:, 1] = 0
    found = batch_norm_masks(net, {"up": {"weight": mask}}, torch.randn(1, 4, 5, 5))
    assert removed_channels(found) == {"norm": {1, 4}}


def test_a_norm_that_runs_twice_keeps_what_one_run_needs() -> None:
    net = Net(lambda n, x: n.norm(n.left(x)) + n.norm(n.right(x)), left=conv(), right=conv(), norm=nn.BatchNorm2d(4))
    assert find(net, {"left": {0, 1}, "right": {1, 2}}) == {"norm": {1}}


def test_a_norm_that_is_masked_itself() -> None:
    net = Net(
        lambda n, x: n.norm2(n.depthwise(n.norm1(n.conv(x)))),
        conv=conv(),
        norm1=nn.BatchNorm2d(4),
        depthwise=conv(4, groups=4),
        norm2=nn.BatchNorm2d(4),
    )
    assert find(net, {"conv": {0}, "norm1": {2}}) == {"norm1": {0, 2}, "norm2": {0, 2}}


def test_a_norm_that_does_not_run_has_no_mask() -> None:
    net = Net(lambda n, x: n.norm(n.conv(x)), conv=conv(), norm=nn.BatchNorm2d(4), unused=nn.BatchNorm2d(4))
    assert find(net, {"conv": {0}}) == {"norm": {0}}


def test_a_norm_without_parameters_gets_a_mask_of_its_output() -> None:
    net = Net(lambda n, x: n.norm(n.conv(x)), conv=conv(), norm=nn.BatchNorm2d(4, affine=False))
    found = batch_norm_masks(net, {"conv": filters(net.conv, {1})}, torch.randn(1, 3, 8, 8))
    assert found["norm"].keys() == {"_output_0"}
    assert torch.equal(found["norm"]["_output_0"], torch.tensor([1.0, 0, 1, 1]).view(1, 4, 1, 1))


def test_values_of_weights_and_images_are_ignored() -> None:
    net = two_norms()
    state = net.state_dict()
    state["conv1.weight"][1] = 0
    state["norm1.bias"].fill_(-100)
    for images in (torch.zeros(1, 3, 8, 8), -torch.rand(1, 3, 8, 8)):
        assert find(net, {"conv1": {0}}, images) == {"norm1": {0}, "norm2": set()}


def test_deep_models_do_not_overflow() -> None:
    layers = [layer for _ in range(60) for layer in (conv(8, 8), nn.BatchNorm2d(8))]
    net = nn.Sequential(*layers)
    found = find(net, {"0": {3}}, torch.randn(1, 8, 8, 8))
    assert found == {str(i): {3} if i == 1 else set() for i in range(1, 120, 2)}


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x,), lambda x: [x], lambda x: {"x": x}])
def test_forms_of_the_dummy_input(form: Callable[[Tensor], Any]) -> None:
    net = Net(lambda n, x: n.norm(n.conv(x)), conv=conv(), norm=nn.BatchNorm2d(4))
    assert find(net, {"conv": {0}}, form(torch.randn(1, 3, 8, 8))) == {"norm": {0}}


def test_masks_in_the_shape_that_nni_computes_them() -> None:
    net = Net(lambda n, x: n.norm(n.conv(x)), conv=conv(), norm=nn.BatchNorm2d(4))
    masks = {"conv": {"weight": torch.tensor([0.0, 1, 1, 0]).view(4, 1, 1, 1), "bias": None}}
    found = batch_norm_masks(net, masks, torch.randn(1, 3, 8, 8))
    assert removed_channels(found) == {"norm": {0, 3}}


def test_masks_that_do_not_fit_the_model() -> None:
    net = Net(lambda n, x: n.norm(n.conv(x)), conv=conv(), norm=nn.BatchNorm2d(4))
    images = torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match="'covn', which is no layer"):
        batch_norm_masks(net, {"covn": {"weight": torch.ones(4)}}, images)
    with pytest.raises(ValueError, match=r"masks\['conv'\]\['weight'\] has shape \(5, 1, 1, 1\)"):
        batch_norm_masks(net, {"conv": {"weight": torch.ones(5, 1, 1, 1)}}, images)


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no forward")


@pytest.mark.parametrize("last", [nn.Identity(), Fails()])
def test_the_model_is_unchanged(last: nn.Module) -> None:
    net = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.Dropout(), last).train()
    net[2].eval()
    state = copy.deepcopy(net.state_dict())
    flags = [module.training for module in net.modules()]
    rng = torch.get_rng_state()
    with pytest.raises(RuntimeError) if isinstance(last, Fails) else nullcontext():
        batch_norm_masks(net, {"0": filters(net[0], {0})}, torch.ones(1, 3, 8, 8))
    assert [module.training for module in net.modules()] == flags
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def small() -> Any:
    torch.manual_seed(SEED)
    return randomise(
        nn.Sequential(
            *(conv(3, 8), nn.BatchNorm2d(8, affine=False), nn.ReLU()),
            *(conv(8, 8, groups=8), nn.BatchNorm2d(8), nn.Hardswish()),
            *(
                conv(8, 8),
                nn.BatchNorm2d(8),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(8, 5),
            ),
        )
    )


IMAGES = torch.randn(2, 3, 8, 8, generator=generator())


def test_wrapped_and_unwrapped_models_give_the_same_masks() -> None:
    model = small()
    pruner = prune("L1NormPruner", model, IMAGES, [])
    model.train()
    model(IMAGES).sum().backward()
    wrapped = batch_norm_masks(model, pruner.get_masks(), IMAGES)
    pruner.unwrap_model()
    unwrapped = batch_norm_masks(model, pruner.get_masks(), IMAGES)
    assert wrapped.keys() == {"1", "4", "7"}
    assert removed_channels(wrapped) == removed_channels(unwrapped)
    assert all(len(channels) == 4 for channels in removed_channels(wrapped).values())


def test_masking_twice_is_masking_once() -> None:
    model = small()
    pruner = prune("L1NormPruner", model, IMAGES, [])
    masks = mask_batch_norms(pruner, IMAGES)
    output = run(model, IMAGES)
    again = mask_batch_norms(pruner, IMAGES)
    assert masks.keys() == again.keys()
    assert torch.equal(run(model, IMAGES), output)
    for name, targets in masks.items():
        assert all(torch.equal(mask, again[name][target]) for target, mask in targets.items())


def test_norms_are_unmasked_with_their_filters() -> None:
    model = small()
    pruner = prune("L1NormPruner", model, IMAGES, [], ratio=0.75)
    first = mask_batch_norms(pruner, IMAGES)
    for spaces in pruner._target_spaces.values():
        spaces["weight"].sparse_ratio = 0.25
    pruner.compress()
    second = mask_batch_norms(pruner, IMAGES)
    for masks, number in ((first, 6), (second, 2)):
        norms = removed_channels({name: masks[name] for name in ("1", "4", "7")})
        assert [len(channels) for channels in norms.values()] == [number] * 3


def test_unwrapping_restores_the_model() -> None:
    model = small()
    names = [name for name, _ in model.named_parameters()]
    state = copy.deepcopy(model.state_dict())
    modules = [type(module) for module in model.modules()]
    pruner = prune("L1NormPruner", model, IMAGES, [])
    masks = mask_batch_norms(pruner, IMAGES)
    run(model, IMAGES)
    pruner.unwrap_model()
    assert [name for name, _ in model.named_parameters()] == names
    assert [type(module) for module in model.modules()] == modules
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert masks.keys() == {"0", "1", "3", "4", "6", "7"}


def test_masks_of_an_unwrapped_model_are_applied_at_the_next_wrapping() -> None:
    model = small()
    pruner = prune("L1NormPruner", model, IMAGES, [])
    pruner.unwrap_model()
    mask_batch_norms(pruner, IMAGES)
    assert not hasattr(model[1], "_nni_wrapper")
    pruner.wrap_model()
    late = run(model, IMAGES)
    other = small()
    mask_batch_norms(prune("L1NormPruner", other, IMAGES, []), IMAGES)
    assert torch.equal(late, run(other, IMAGES))


def test_wrappers_made_before_are_used() -> None:
    repair_nni()
    from nni.compression.pruning import L1NormPruner

    model = small()
    config = [{"op_names": ["0", "6"], "sparse_ratio": 0.5}]
    pruner = L1NormPruner(model, config, existed_wrappers=batch_norm_wrappers(model))
    assert pruner.get_masks().keys() == {"0", "1", "4", "6", "7"}
    masks = batch_norm_masks(model, pruner.compress()[1], IMAGES)
    pruner.update_masks(masks)
    plain = small()
    reference = L1NormPruner(plain, config)
    reference.compress()
    mask_batch_norms(reference, IMAGES)
    assert torch.equal(run(model, IMAGES), run(plain, IMAGES))
    pruner.unwrap_model()
    assert not any(hasattr(module, "_nni_wrapper") for module in model.modules())
