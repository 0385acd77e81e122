from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from foad_plugins.recovery.training.feature_maps import layer_outputs, matching_layers, unchanged_layers
from tests.networks.residual_networks import Block, ResidualNet, narrowed


def unchanged(model: nn.Module, original: nn.Module, images: Tensor) -> tuple[str, ...]:
    return unchanged_layers(model.eval(), original.eval(), lambda: model(images), lambda: original(images))


def test_blocks_count_as_one_and_of_a_row_the_last_layer():
    original = ResidualNet()
    assert unchanged(narrowed(original, 2), original, torch.randn(2, 1, 8, 8)) == (
        "stem.2", "blocks.0", "blocks.1", "pool",
    )  # fmt: skip


def test_a_module_that_repeats_blocks_is_replaced_by_them():
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Block(4, 4), Block(4, 4)])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x * 1

    network = nn.Sequential(nn.Conv2d(1, 4, 1), Encoder(), nn.Conv2d(4, 2, 1))
    assert unchanged(copy.deepcopy(network), network, torch.randn(2, 1, 8, 8)) == (
        "0", "1.layers.0", "1.layers.1",
    )  # fmt: skip


def test_narrower_layers_repeated_layers_and_the_output_are_not_used():
    def network(width: int) -> nn.Sequential:
        twice = nn.Tanh()
        return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 5), twice, nn.Linear(5, 5), twice)

    assert unchanged(network(3), network(4), torch.randn(2, 6)) == ("2", "4")


def test_transformer_layers_are_used_and_attention_inside_is_not():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    network = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    model = nn.Sequential(network, nn.Linear(8, 3))
    assert unchanged(copy.deepcopy(model), model, torch.randn(2, 4, 8)) == ("0.layers.0", "0.layers.1")


def test_patterns_choose_layers_that_both_networks_have():
    original = ResidualNet()
    small = narrowed(original, 2)
    small.extra = nn.Identity()
    assert matching_layers(small, original, ["blocks.*", "head"]) == ("blocks.0", "blocks.1", "head")
    for pattern in ("extra", "blocks.*.conv9", "*.*.*.*"):
        with pytest.raises(ValueError, match="fits no layer that both networks have"):
            matching_layers(small, original, [pattern])


def test_outputs_are_collected_by_call_and_the_hooks_removed_after_an_error():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with layer_outputs(network, ["0", "1"]) as outputs:
        first = network(torch.ones(1, 3))
        network(torch.ones(2, 3))
    assert outputs["1"][0] is first
    assert [len(output) for output in outputs["0"]] == [1, 2]
    with pytest.raises(AttributeError), layer_outputs(network, ["0", "nothing"]):
        pass
    assert not network[0]._forward_hooks
