"""User-defined networks, through a pruner of Torch-Pruning and through prune(): they run, train and are smaller."""

from __future__ import annotations

import copy

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from foad_plugins import FOADImportance, count_params, load_pruned, prune, save_pruned
from foad_plugins.utils.outputs import output_tensors
from tests.helpers.seeds import generator
from tests.networks import user_networks as b

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unwrapped parameters detected"),
    # Torch-Pruning does not see InstanceNorm without parameters, which works all the same.
    pytest.mark.filterwarnings("ignore:input's size at dim=1 does not match num_features"),
]
GENERATOR = generator()
IMAGES = torch.rand(12, 3, 16, 16, generator=GENERATOR)
SERIES = torch.rand(12, 2, 40, generator=GENERATOR)
VOLUMES = torch.rand(12, 2, 6, 6, 6, generator=GENERATOR)
PAIRS = (IMAGES, IMAGES.flip(0))

NETWORKS = {
    "unet": (b.UNet, IMAGES),
    "unet, instance norm": (lambda: b.UNet(nn.InstanceNorm2d), IMAGES),
    "unet, group norm": (lambda: b.UNet(lambda channels: nn.GroupNorm(4, channels)), IMAGES),
    "segmentation head": (b.SegmentationHead, IMAGES),
    "1-d": (b.OneDimension, SERIES),
    "3-d": (b.ThreeDimensions, VOLUMES),
    "group norm": (lambda: b.chain(nn.GroupNorm(4, 16), nn.SiLU()), IMAGES),
    "layer norm in a group": (lambda: b.chain(nn.GroupNorm(1, 16), nn.ReLU()), IMAGES),
    "instance norm": (lambda: b.chain(nn.InstanceNorm2d(16, affine=True), nn.ReLU()), IMAGES),
    "prelu": (lambda: b.chain(nn.PReLU(16)), IMAGES),
    "prelu of one": (lambda: b.chain(nn.PReLU()), IMAGES),
    "called again": (b.CalledAgain, IMAGES),
    "siamese": (b.Siamese, PAIRS),
    "siamese, joined": (lambda: b.Siamese(joined=True), PAIRS),
    "head over levels": (b.HeadOverLevels, IMAGES),
    "by name": (b.ByName, {"pixel_values": IMAGES, "scale": None}),
    "module dict": (b.Heads, IMAGES),
    "unused branch": (b.Unused, IMAGES),
    "bare weight": (b.BareWeight, IMAGES),
    "checkpointed": (b.Checkpointed, IMAGES),
    "autocast": (b.Autocast, IMAGES),
    "stubs": (b.Stubs, IMAGES),
    "gated": (b.Gated, IMAGES),
    "embedding": (b.Embedded, torch.randint(20, (12, 7), generator=GENERATOR)),
    "yolo c3": (b.YoloC3, IMAGES),
}


def call(model, data):
    if isinstance(data, dict):
        return output_tensors(model(**data))
    return output_tensors(model(*data) if isinstance(data, tuple) else model(data))


def heads(model):
    return [model.heads] if hasattr(model, "heads") else [model.head]


def by_pruner(model, data, importance=None, **options):
    example = data if isinstance(data, (dict, tuple)) else (data[:1],)
    fresh = {"in_channel_groups": {}, "out_channel_groups": {}, "num_heads": {}}
    settings = {"pruning_ratio": 0.3, "ignored_layers": heads(model), **fresh, **options}
    importance = FOADImportance(data) if importance is None else importance
    tp.pruner.MetaPruner(model, example, importance=importance, **settings).step()


def by_rule(model, data):
    prune(model, data, measure_latency=False)


def to_a_target(model, data):
    # Few images: compensation is tested elsewhere.
    prune(model, data, pruning_ratio=0.3, order="rounds", compensate=None, measure_latency=False)


def assert_in_order(model, data, shapes, before):
    assert count_params(model) < before
    with torch.no_grad():
        assert [tensor.shape for tensor in call(model.eval(), data)] == shapes
    outputs = call(model.train(), data)
    sum(tensor.float().square().mean() for tensor in outputs if tensor.requires_grad).backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert grads
    assert all(grad.isfinite().all() for grad in grads)


# torch 2.4 warns of itself when a checkpoint runs again.
@pytest.mark.filterwarnings(r"ignore:`torch\.cpu\.amp\.autocast:FutureWarning")
@pytest.mark.parametrize("how", [by_pruner, by_rule, to_a_target])
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_backward_and_fewer_parameters(name, how):
    make, data = NETWORKS[name]
    model = make().eval()
    before = count_params(model)
    with torch.no_grad():
        shapes = [tensor.shape for tensor in call(model, data)]
    how(model, data)
    assert_in_order(model, data, shapes, before)


def make_twins(layer, twins):
    """Give some output channels the weights of others, and let none be dead, which would be twins as well."""
    with torch.no_grad():
        weight = layer.weight.transpose(0, 1) if isinstance(layer, _ConvTransposeNd) else layer.weight
        for channel, twin in twins.items():
            weight[twin] = weight[channel]
            layer.bias[twin] = layer.bias[channel]
        layer.bias += 1


def distinct(layer):
    weight = layer.weight.transpose(0, 1) if isinstance(layer, _ConvTransposeNd) else layer.weight
    return len(weight.detach().flatten(1).unique(dim=0))


@pytest.mark.parametrize(
    ("name", "layer", "width"),
    [
        ("unet", "first.0", 8),
        ("unet", "up2", 16),
        ("unet, instance norm", "middle.0", 32),
        ("segmentation head", "branches.1", 6),
        ("1-d", "first", 8),
        ("1-d", "up", 6),
        ("3-d", "first", 8),
        ("3-d", "up", 6),
        ("instance norm", "first", 16),
        ("prelu", "first", 16),
        ("siamese", "first", 8),
        ("siamese, joined", "second", 12),
        ("head over levels", "tower", 10),
        ("by name", "second", 12),
        ("module dict", "layers.second", 12),
        ("stubs", "first", 8),
        ("gated", "squeeze", 4),
        ("yolo c3", "right.0", 8),
    ],
)
def test_twins_are_removed_first(name, layer, width):
    make, data = NETWORKS[name]
    twins = {0: width - 1} if width < 8 else {0: width - 1, 1: width // 2}
    networks = [make().eval() for _ in range(2)]
    for model in networks:
        make_twins(model.get_submodule(layer), twins)
    # Torch-Pruning rounds down what it keeps, and a share as 5 / 6 is a little less in floating point.
    share = (len(twins) - 0.5) / width
    by_pruner(networks[0], data, pruning_ratio=0.0, pruning_ratio_dict={networks[0].get_submodule(layer): share})
    prune(networks[1], data, pruning_ratio_dict={layer: len(twins) / width}, order="rounds", measure_latency=False)
    for model in networks:
        assert distinct(model.get_submodule(layer)) == width - len(twins)
        weight = model.get_submodule(layer).weight
        assert weight.shape[1 if isinstance(model.get_submodule(layer), _ConvTransposeNd) else 0] == width - len(twins)


def test_inputs_in_a_dictionary_of_the_models_own():
    model = b.FromDict().eval()
    before = count_params(model)
    prune(model, [{"batch": {"image": IMAGES}}], pruning_ratio=0.3, measure_latency=False, order="rounds")
    other = b.FromDict().eval()
    prune(other, [{"image": IMAGES}], forward_fn=lambda network, batch: network(batch), measure_latency=False)
    for network in (model, other):
        assert count_params(network) < before
        assert network({"image": IMAGES})["logits"].shape == (12, 4)


def test_outputs_in_dataclasses():
    model = b.DataclassOutput().eval()
    report = prune(model, IMAGES, flops=0.6, measure_latency=False)
    assert {group.name: group.verification for group in report.groups} == {"first": "verified", "second": "verified"}
    assert report.flops_after == pytest.approx(0.6 * report.flops_before, rel=0.1)
    assert model(IMAGES).logits.shape == (12, 4)
    with pytest.raises(TypeError, match="'Output' object is not iterable"):
        by_pruner(b.DataclassOutput(), IMAGES)
    other = b.DataclassOutput().eval()
    by_pruner(other, IMAGES, output_transform=lambda output: output.logits)
    assert other.second.out_channels == 8


def test_outputs_in_dataclasses_are_compared():
    class Swapped(b.DataclassOutput):
        def forward(self, x):
            return b.Output(self.head(self.second(self.first(x).relu().flip(1)).relu().mean((2, 3))))

    with pytest.raises(RuntimeError, match=r"right channels of the group of layer 'first'"):
        prune(Swapped(), IMAGES, pruning_ratio=0.4, on_wrong_removal="error")


def test_models_that_return_no_tensor():
    class Silent(b.Two):
        def forward(self, x):
            super().forward(x)
            return "done"

    with pytest.raises(ValueError, match="returns no tensor, and nothing that holds one, but a str"):
        prune(Silent(), IMAGES)


def test_layers_that_do_not_run_are_named():
    report = prune(b.Unused(), IMAGES, measure_latency=False)
    assert report.notes == (
        "'spare.0', 'spare.1' did not run as layers when the model was traced (or not under autograd), and are not "
        "pruned: code that runs them elsewhere, such as auxiliary heads in train mode, may fail now",
    )
    assert not prune(b.Two(), IMAGES, measure_latency=False).notes
    model = b.TrainedBeside()
    assert "'aside' did not run" in str(prune(model, IMAGES, measure_latency=False))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model.train()(IMAGES)


def test_chunks_can_be_ignored_by_the_names_in_the_error():
    model = b.YoloC2f().eval()
    with pytest.raises(RuntimeError, match=r"group of layer 'inner.1.1.0' .* name that layer in ignored_layers"):
        prune(model, IMAGES, pruning_ratio=0.3, on_wrong_removal="error")
    report = prune(model, IMAGES, pruning_ratio=0.3, ignored_layers=["inner.1.1.0"], measure_latency=False)
    assert report.params_after < 0.7 * report.params_before
    assert {group.verification for group in report.groups} == {"verified"}


def test_every_wrong_group_is_named_at_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.second = nn.Conv2d(8, 8, 3, padding=1)
            self.third = nn.Conv2d(8, 8, 3, padding=1)
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            x = self.second(self.first(x).relu().flip(1))
            return self.head(self.third(x.relu()).flip(1).mean((2, 3)))

    model = Twice()
    with pytest.raises(
        RuntimeError,
        match=r"group of layer 'first' \('first'\), nor of those of 'third'.*name these layers in ignored_layers",
    ):
        prune(model, IMAGES, pruning_ratio=0.4, on_wrong_removal="error")
    report = prune(model, IMAGES, pruning_ratio=0.4, ignored_layers=["first", "third"], measure_latency=False)
    assert [group.name for group in report.groups] == ["second"]


@pytest.mark.parametrize("name", ["unet", "1-d", "siamese", "module dict", "gated", "unused branch"])
def test_saved_and_loaded(name, tmp_path):
    make, data = NETWORKS[name]
    model = make().eval()
    to_a_target(model, data)
    save_pruned(copy.deepcopy(model), tmp_path / "small")
    again = load_pruned(make, tmp_path / "small").eval()
    with torch.no_grad():
        assert all(map(torch.equal, call(again, data), call(model, data)))
