"""Kinds of networks and of calls that NNI's own tests have, with FOADPruner."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

pytest.importorskip("nni")

from foad_plugins.adapters.nni.pruner import FOADPruner
from tests.adapters.nni import test_batch_norm_masks as host
from tests.adapters.nni.test_pruner import conv_config, kept_of, snapshot, torch_evaluator
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, seeded_norms

pytestmark = host.pytestmark

GRAY = torch.rand(6, 1, 12, 12, generator=generator())


def decorated(function):
    @functools.wraps(function)
    def call(*arguments, **options):
        return function(*arguments, **options)

    return call


class Decorated(nn.Module):
    """A layer of the user whose forward method is decorated twice."""

    @decorated
    @decorated
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu6(x)


class Digits(nn.Module):
    """Two convolutions and two linear layers, flattened by the number of elements."""

    def __init__(self, first=None, between=functional.relu6, **options):
        super().__init__()
        self.conv1, self.first, self.conv2 = nn.Conv2d(1, 8, 3), first or nn.ReLU6(), nn.Conv2d(8, 10, 3)
        self.fc1, self.fc2 = nn.Linear(160, 24), nn.Linear(24, 5)
        self.between, self.options = between, options

    def forward(self, x):
        x = functional.max_pool2d(self.conv2(self.first(self.conv1(x))), 2)
        x = self.between(self.fc1(x.view(-1, x.size()[1:].numel())), **self.options)
        return functional.log_softmax(self.fc2(x), dim=1)


class Rearranged(nn.Module):
    """Random numbers, permutations and reductions around the convolutions, a scripted part, no channels at the end."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3)
        self.pools = nn.ModuleList(nn.MaxPool2d(2) for _ in range(3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.unused = torch.jit.script(nn.ReLU())
        self.fc1, self.fc2 = nn.Linear(8, 12), nn.Linear(12, 10)

    def forward(self, x):
        x = x.sub(torch.ones_like(x)).add(torch.rand_like(x)).add(torch.zeros_like(x))
        x = x.contiguous(memory_format=torch.channels_last).to(torch.float32)
        x = self.conv1(torch.transpose(torch.transpose(torch.sigmoid(torch.exp(x)), 1, 2), 1, 2))
        x = self.pools[0](functional.relu(x)) + self.pools[1](functional.leaky_relu(x))
        x = self.conv2(x * 1.00001)
        x = self.pools[2](functional.silu(x)) - 0.00001
        for _ in range(3):
            x = torch.permute(x, (0, 2, 3, 1))
        x = torch.select(torch.unsqueeze(x, dim=1), dim=1, index=0)
        x = torch.squeeze(torch.unsqueeze(torch.sum(torch.unsqueeze(x, dim=1), dim=1, dtype=torch.float32), 1), 1)
        x = torch.flatten(x, 1)
        x = x.reshape(x.shape)
        x = x.view(-1, x.size(1))
        x = functional.softmax(self.fc2(functional.log_softmax(self.fc1(x), dim=1)), dim=1)
        x = torch.cat((x[:, 0 : int(x.size(1) / 2)], x[:, int(x.size(1) / 2) : x.size(1)]), dim=1)
        x = x.type_as(x).expand_as(x)
        return torch.constant_pad_nd(torch.matmul(x, x.t()), (1, 1, 1, 1), 3.14)


@pytest.mark.parametrize("first", [nn.ReLU6, Decorated])
def test_the_users_masks_of_activations_of_another_batch_size(first):
    from nni.common.concrete_trace_utils import concrete_trace
    from nni.compression.speedup import ModelSpeedup

    model = Digits(first()).eval()
    pruner = FOADPruner(model, conv_config(), data=GRAY)
    _, masks = pruner.compress()
    pruner.unwrap_model()
    ones = torch.ones(8, 8, 10, 10)
    masks["first"] = {"_input_input": ones.clone(), "_output_0": ones.clone()}
    masks["conv1"]["_output_0"] = ones.clone()
    traced = concrete_trace(model, {"x": GRAY[:3]}, leaf_module=(Decorated,))
    ModelSpeedup(traced, (GRAY[:3],), masks).speedup_model()
    assert (traced.conv1.out_channels, traced.conv2.in_channels, traced.conv2.out_channels) == (4, 4, 5)
    assert traced(GRAY).shape == (6, 5)


@pytest.mark.parametrize(("between", "options"), [(functional.softmax, {"dim": 1}), (nn.Softmax(dim=1), {})])
def test_a_softmax_between_pruned_layers(between, options):
    from nni.compression.speedup import ModelSpeedup

    model = Digits(between=between, **options).eval()
    pruner = FOADPruner(model, [{"op_types": ["Linear"], "op_names": ["fc1"], "sparsity": 0.5}], data=GRAY)
    _, masks = pruner.compress()
    pruner.unwrap_model()
    fast = ModelSpeedup(model, GRAY, masks).speedup_model()
    assert (fast.fc1.out_features, fast.fc2.in_features) == (12, 12)
    assert fast(GRAY).exp().sum(1).allclose(torch.ones(6))


def test_permutations_reductions_random_numbers_and_a_scripted_part():
    from nni.compression.speedup import ModelSpeedup

    model = Rearranged().eval()
    pruner = FOADPruner(model, [{"op_types": ["Conv2d"], "sparsity": 0.5}], data=GRAY)
    _, masks = pruner.compress()
    pruner.unwrap_model()
    assert [len(kept_of(masks[name]["weight"])) for name in ("conv1", "conv2")] == [3, 4]
    fast = ModelSpeedup(model, GRAY, masks).speedup_model()
    assert (fast.conv1.out_channels, fast.conv2.out_channels) == (3, 4)
    assert fast(GRAY).shape == (8, 8)


def test_a_quantizer_that_fuses_masked_batch_normalization_is_refused_in_words():
    from nni.compression.quantization import QATQuantizer

    model = seeded_norms(Chain()).eval()
    pruner = FOADPruner(model, conv_config(), torch_evaluator(model), data=torch.rand(6, 3, 8, 8))
    pruner.compress()
    pruner.unwrap_model()
    before, config = snapshot(model), [dict(wrapper.config) for wrapper in pruner._module_wrappers.values()]
    quantized = {
        "op_names": ["conv1"],
        "target_names": ["weight"],
        "quant_dtype": "int8",
        "fuse_names": [("conv1", "norm1")],
    }
    with pytest.raises(ValueError, match="fuse_names has 'norm1', which another compressor has wrapped.*ModelSpeedup"):
        QATQuantizer.from_compressor(pruner, [quantized], 10)
    assert snapshot(model) == before
    assert [dict(wrapper.config) for wrapper in pruner._module_wrappers.values()] == config
    # What the message names works: without other wrappers.
    quantizer = QATQuantizer(model, [quantized], torch_evaluator(model), 10)
    quantizer.unwrap_model()
