"""Every layer that keeps all its channels has one reason, in the report or in the error."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance, TargetError, prune
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain

IMAGES = torch.rand(16, 3, 8, 8, generator=generator())


class Tied(nn.Module):
    """Two layers with one weight, between others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.first = nn.Conv2d(12, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 12, 3, padding=1)
        self.second.weight = self.first.weight
        self.last = nn.Conv2d(12, 12, 3, padding=1)
        self.head = nn.Conv2d(12, 2, 8)

    def forward(self, x):
        for layer in (self.stem, self.first, self.second, self.last):
            x = layer(x).relu()
        return self.head(x).flatten(1)


def test_layers_that_share_a_weight_are_kept_whole():
    model = Tied()
    report = prune(model, IMAGES, flops=0.9, measure_latency=False)
    assert model.first.weight is model.second.weight
    assert (model.stem.out_channels, model.first.out_channels, model.second.out_channels) == (12, 12, 12)
    assert model.last.out_channels < 12
    assert report.flops_after / report.flops_before == pytest.approx(0.9, abs=0.05)
    why = "layers 'first' and 'second' share a parameter, which removing channels would split"
    assert report.kept_layers == {
        **dict.fromkeys(("stem", "first", "second"), why),
        "head": "its channels are the model's output",
    }
    assert any(why in note for note in report.notes)


def test_ignored_layers_and_those_that_are_combined_with_them():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
            self.next, self.head = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 4)
            self.spare = nn.Linear(2, 2)

        def forward(self, x):
            return self.head(self.next((self.left(x) + self.right(x)).relu()).relu())

    report = prune(Sum(), IMAGES, pruning_ratio=0.5, ignored_layers=["right"], measure_latency=False)
    assert report.kept_layers == {
        "left": "its channels are combined with those of 'right': it is in ignored_layers",
        "right": "it is in ignored_layers",
        "head": "its channels are the model's output",
        "spare": "it did not run as a layer when the model was traced",
    }


def test_a_target_that_cannot_be_met_has_the_reasons():
    with pytest.raises(TargetError) as error:
        prune(Tied(), IMAGES, flops=0.3, measure_latency=False)
    assert set(error.value.kept_layers) == {"stem", "first", "second", "head"}


def test_nothing_is_kept_without_need():
    report = prune(Chain(), IMAGES, flops=0.5, measure_latency=False)
    assert set(report.kept_layers.values()) == {"its channels are the model's output"}
    assert len(report.kept_layers) == 1


class Heads(nn.Module):
    """Attention whose code has the size of a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 12), nn.Linear(12, 3)
        self.query, self.key, self.value, self.out = (
            nn.Linear(*sizes) for sizes in ((12, 8), (12, 8), (12, 8), (8, 12))
        )

    def forward(self, x):
        x = self.stem(x)
        query, key, value = (
            layer(x).view(len(x), -1, 2, 4).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = (query @ key.transpose(2, 3)).softmax(3) @ value
        return self.head((x + self.out(mixed.transpose(1, 2).reshape(len(x), -1, 8))).mean(1))


def test_the_kept_layers_of_a_dry_run_are_what_torch_prunings_own_pruner_has_to_ignore():
    model, tokens = Heads().eval(), torch.rand(32, 5, 6, generator=generator())
    report = prune(model, tokens, pruning_ratio=0.5, ranking="local", compensate=None, dry_run=True)
    assert set(report.kept_layers) == {"query", "key", "value", "head"}
    tp.pruner.MetaPruner(
        model,
        (tokens[:1],),
        importance=FOADImportance(tokens),
        pruning_ratio=0.5,
        ignored_layers=[model.get_submodule(name) for name in report.kept_layers],
    ).step()
    assert (model.stem.out_features, model.query.out_features, model.head.out_features) == (6, 8, 3)
    assert model(tokens).shape == (32, 3)
