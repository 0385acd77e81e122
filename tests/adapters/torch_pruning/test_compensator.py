"""Where removed channels are copies of kept ones, nothing may change; elsewhere little, and only what may."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional

from foad_plugins import Compensator, FOADImportance, InsufficientDataWarning, prune
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens, seeded_norms

IMAGES = torch.rand(24, 3, 8, 8, generator=generator())
TOKENS = torch.rand(24, 7, 6, generator=generator(1))


def double(*layers: nn.Module) -> None:
    """Make the upper half of the output channels of layers copies of the lower half."""
    with torch.no_grad():
        for layer in layers:
            for tensor in [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]:
                if tensor.dim():
                    half = len(tensor) // 2
                    tensor[half:] = tensor[:half]


class Depthwise(nn.Module):
    """Copies that are consumed only after a depthwise convolution and PReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.PReLU(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.project = nn.Conv2d(8, 5, 1, bias=False)
        self.last = nn.BatchNorm2d(5)

    def forward(self, x):
        x = self.depthwise(self.act(self.norm(self.conv(x))))
        return self.last(self.project(x)).mean((2, 3))


class Transposed(nn.Module):
    """A transposed convolution as the consumer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 5, 2, stride=2)

    def forward(self, x):
        return self.up(self.conv(x).relu())


def lively(model: nn.Module) -> nn.Module:
    """Trained-looking norms, and no channel that is dead behind its ReLU: any number of those are copies, too."""
    seeded_norms(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.Conv2d)) and module.bias is not None:
                module.bias.uniform_(0.5, 1.5)
    return model


def chain():
    model = lively(Chain())
    double(model.conv1, model.norm1, model.conv2, model.norm2)
    return model


def grouped():
    # Relative index 1 of each of the two groups of four input channels is a copy of relative index 0 and so on.
    model = lively(Chain(groups=2))
    with torch.no_grad():
        for layer, size in ((model.conv1, 4), (model.norm1, 4), (model.conv2, 6), (model.norm2, 6)):
            for tensor in [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]:
                if tensor.dim():
                    for start in (0, size):
                        tensor[start + size // 2 : start + size] = tensor[start : start + size // 2]
    return model


def residual():
    model = lively(Residual())
    double(model.stem, model.block1[0], model.block1[1], model.block1[3], model.depthwise, model.block2)
    return model


def concat():
    model = lively(Concat())
    double(model.left, model.right, model.join, model.squeeze, model.excite)
    return model


def tokens():
    model = Tokens()
    double(model.embed, model.hidden, model.back)
    return model


def depthwise():
    model = lively(Depthwise())
    double(model.conv, model.norm, model.act, model.depthwise)
    return model


def transposed():
    model = lively(Transposed())
    double(model.conv)
    return model


NETWORKS = [chain, grouped, residual, concat, tokens, depthwise, transposed]


def halved(network, **options):
    model = network().eval()
    original = copy.deepcopy(model)
    inputs = TOKENS if network is tokens else IMAGES
    report = prune(model, inputs, pruning_ratio=0.5, measure_latency=False, **options)
    assert report.removed
    with torch.no_grad():
        return model(inputs), original(inputs), report


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("order", ["reconstruction", "rounds"])
@pytest.mark.parametrize("method", ["least_squares", "representative"])
def test_copies_leave_no_trace(network, order, method):
    if network is tokens and order == "reconstruction":
        pytest.skip("eight linear functions of six inputs: others than copies can be reconstructed as well")
    # A squeezed mean has one value an image: a channel dead on all of them may go before a copy, as free of cost.
    ignored = ["squeeze"] if network is concat and order == "reconstruction" else []
    after, before, report = halved(network, order=order, compensate=method, ignored_layers=ignored)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    assert report.compensated
    assert report.not_compensated == ()


@pytest.mark.parametrize("method", ["least_squares", "representative"])
def test_channels_of_zeros_contribute_nothing(method):
    model = Chain().eval()
    silent = [2, 5]
    with torch.no_grad():
        model.norm1.weight[silent] = 0
        model.norm1.bias[silent] = -1
        before = model(IMAGES)
    compensator = Compensator(model, IMAGES, method)
    graph = tp.DependencyGraph().build_dependency(model, (IMAGES[:2],))
    group = graph.get_pruning_group(model.conv1, tp.prune_conv_out_channels, silent)
    compensator(group)
    group.prune()
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES), before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_without_compensation_copies_are_missed(network):
    after, before, report = halved(network, compensate=None, reestimate_bn=False)
    assert (after - before).abs().max() > 1e-3
    assert report.compensated == ()


@pytest.mark.parametrize("network", NETWORKS)
def test_consumers_are_closer_to_the_original_with_least_squares(network):
    torch.manual_seed(3)
    errors = {}
    for method in (None, "least_squares"):
        torch.manual_seed(3)
        model = seeded_norms({"chain": Chain, "residual": Residual, "concat": Concat}.get(network.__name__, Chain)())
        model.eval()
        original = copy.deepcopy(model)
        prune(model, IMAGES, pruning_ratio=0.5, compensate=method, reestimate_bn=False, measure_latency=False)
        with torch.no_grad():
            errors[method] = float((model(IMAGES) - original(IMAGES)).square().mean())
    assert errors["least_squares"] < 0.7 * errors[None]


def test_the_consumer_gets_the_regression_over_the_kept_channels():
    model = seeded_norms(Chain()).eval()
    original = copy.deepcopy(model)
    report = prune(
        model,
        IMAGES,
        pruning_ratio=0.5,
        ignored_layers=["conv2"],
        compensate="least_squares",
        reestimate_bn=False,
        importance=tp.importance.MagnitudeImportance(p=1),
    )
    (group,) = report.groups
    kept, removed = list(group.selection.kept), list(group.selection.removed)
    with torch.no_grad():
        maps = functional.max_pool2d(functional.relu(original.norm1(original.conv1(IMAGES))), 2)
    rows = maps.double().transpose(0, 1).flatten(1)
    # The driver that takes silent channels.
    shares = torch.linalg.lstsq(rows[kept].T, rows[removed].T, driver="gelsd").solution
    weight = original.conv2.weight.double()
    expected = weight[:, kept] + torch.einsum("orhw,kr->okhw", weight[:, removed], shares)
    torch.testing.assert_close(model.conv2.weight.double(), expected, rtol=0.02, atol=0.01)
    assert report.compensated == ("conv2",)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", ["least_squares", "representative"])
def test_interactive_mode_of_torch_pruning(network, method):
    model = network().eval()
    original = copy.deepcopy(model)
    inputs = TOKENS if network is tokens else IMAGES
    with torch.no_grad():
        width = model(inputs).shape[1]
    heads = [m for m in model.modules() if width in (getattr(m, "out_channels", 0), getattr(m, "out_features", 0))]
    pruner = tp.pruner.BasePruner(
        model,
        (inputs[:2],),
        importance=FOADImportance(inputs),
        pruning_ratio=0.5,
        ignored_layers=heads,
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    compensator = Compensator(model, inputs, method)
    changed = []
    for group in pruner.step(interactive=True):
        changed += compensator(group)
        group.prune()
    assert changed
    with torch.no_grad():
        torch.testing.assert_close(model(inputs), original(inputs), rtol=0, atol=1e-5)


def test_a_group_that_was_not_pruned_is_noticed():
    model = chain()
    graph = tp.DependencyGraph().build_dependency(model, (IMAGES[:2],))
    group = graph.get_pruning_group(model.conv1, tp.prune_conv_out_channels, [1, 2])
    compensator = Compensator(model, IMAGES)
    compensator(group)
    other = graph.get_pruning_group(model.conv1, tp.prune_conv_out_channels, [3])
    with pytest.raises(RuntimeError, match="call group.prune"):
        compensator(other)


def test_layers_that_cannot_mix_are_named():
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(6, 8)
            self.block = attention
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.block(self.embed(x)).mean(1))

    model = Model().eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch")
        report = prune(model, TOKENS, pruning_ratio=0.5, compensate="least_squares", measure_latency=False)
    assert "block.self_attn" in report.not_compensated
    assert "block.linear2" in report.compensated
    assert "not compensated, cannot mix channels: block.self_attn" in str(report)
    proofs = {group.name: group.verification for group in report.groups}
    assert proofs["block.linear1"] == "verified"
    assert "not verifiable" in proofs.values()


def test_few_samples_are_a_warning():
    model = seeded_norms(Chain())
    with pytest.warns(InsufficientDataWarning, match=r"'conv2' \(1 for 8 channels\)|'fc' \(4 for 12 channels\)"):
        prune(model, IMAGES[:1], pruning_ratio=0.5, measure_latency=False)


@pytest.mark.parametrize("method", ["representatives", "", 3])
def test_unknown_methods(method):
    with pytest.raises(ValueError, match="'least_squares', 'representative'"):
        Compensator(Chain(), IMAGES, method)
    with pytest.raises(ValueError, match="'auto', None or one of 'least_squares', 'representative'"):
        prune(Chain(), IMAGES, pruning_ratio=0.5, compensate=method)


def test_the_model_is_unchanged_until_the_first_group():
    model = chain().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Compensator(model, iter(IMAGES.split(8)))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
