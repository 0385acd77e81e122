from __future__ import annotations

import pytest
import torch
from torch import nn

from foad_plugins.recovery.refitting.kept import Correlation, check_kept, equal_channels

KEPT = [0, 2, 3, 7]


def cut(layer, outputs, inputs=None):
    """A layer with some of its channels, as pruning leaves it."""
    weight = layer.weight.detach()[outputs]
    weight = weight if inputs is None else weight[:, inputs]
    kernel = {"kernel_size": layer.kernel_size} if isinstance(layer, nn.Conv2d) else {}
    pruned = type(layer)(weight.shape[1], len(outputs), bias=layer.bias is not None, **kernel)
    pruned.weight.data = weight.clone()
    if layer.bias is not None:
        pruned.bias.data = layer.bias.detach()[outputs].clone()
    return pruned


def norm(count, same=False):
    layer = nn.BatchNorm2d(count)
    if not same:
        nn.init.uniform_(layer.weight)
        nn.init.normal_(layer.bias)
        layer.running_mean.normal_()
        layer.running_var.uniform_()
    return layer


def cut_norm(layer, outputs):
    pruned = nn.BatchNorm2d(len(outputs))
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(pruned, name).data = getattr(layer, name).detach()[outputs].clone()
    return pruned


@pytest.mark.parametrize(
    "make", [lambda: nn.Conv2d(6, 8, 3), lambda: nn.Conv2d(6, 8, 1, bias=False), lambda: nn.Linear(6, 8)]
)
@pytest.mark.parametrize("inputs", [None, [1, 2, 5]])
def test_equal_rows_show_the_channels_also_where_inputs_were_removed(make, inputs):
    layer = make()
    assert equal_channels(cut(layer, KEPT, inputs), layer).tolist() == KEPT


def test_values_of_batch_normalization_show_them_where_the_weights_are_others():
    layer, bn = nn.Conv2d(6, 8, 3, bias=False), norm(8)
    pruned = cut(layer, KEPT)
    nn.init.normal_(pruned.weight)
    assert equal_channels(pruned, layer, cut_norm(bn, KEPT), bn).tolist() == KEPT


def test_statistics_that_were_estimated_again_do_not_hide_its_parameters():
    layer, bn = nn.Conv2d(6, 8, 3, bias=False), norm(8)
    pruned, pruned_norm = cut(layer, KEPT), cut_norm(bn, KEPT)
    nn.init.normal_(pruned.weight)
    pruned_norm.running_mean.normal_()
    assert equal_channels(pruned, layer, pruned_norm, bn).tolist() == KEPT


def test_values_that_all_channels_have_show_nothing():
    layer, bn = nn.Conv2d(6, 8, 3, bias=False), norm(8, same=True)
    pruned = cut(layer, KEPT)
    nn.init.normal_(pruned.weight)
    assert equal_channels(pruned, layer, cut_norm(bn, KEPT), bn) is None


def test_equal_width_means_all_channels():
    assert equal_channels(nn.Linear(3, 4), nn.Linear(5, 4)).tolist() == [0, 1, 2, 3]


def test_similar_maps_show_the_channels():
    original = torch.randn(500, 8)
    correlation = Correlation("conv")
    correlation.add(3 * original[:, KEPT] + 0.3 * torch.randn(500, 4) - 1, original)
    assert correlation.channels().tolist() == KEPT


def test_it_does_not_matter_which_of_two_equal_maps_is_taken():
    original = torch.randn(500, 8)
    original[:, 3] = original[:, 2]
    correlation = Correlation("conv")
    correlation.add(original[:, [0, 2, 7]], original)
    assert correlation.channels().tolist() in ([0, 2, 7], [0, 3, 7])


def test_maps_that_resemble_none_or_two_are_doubtful():
    original = torch.randn(500, 8)
    for pruned in (
        torch.stack([original[:, 0], original[:, 2] + original[:, 3], original[:, 7]], 1),
        torch.stack([original[:, 0], torch.randn(500), original[:, 7]], 1),
        original[:, [2, 0, 7]],
    ):
        correlation = Correlation("conv")
        correlation.add(pruned, original)
        with pytest.raises(ValueError, match="'conv'.*kept="):
            correlation.channels()


def test_the_argument_is_checked():
    original, pruned = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    assert check_kept({"0": (3, 1)}, pruned, original)["0"].tolist() == [3, 1]
    for kept in ({"0": [1]}, {"0": [1, 1]}, {"0": [1, 4]}, {"0": [-1, 1]}, {"1": [0]}, {"layer": [0, 1]}):
        with pytest.raises(ValueError, match="kept"):
            check_kept(kept, pruned, original)
    for kept in ([0, 1], {"0": [0.5, 1.0]}, {"0": [True, False]}):
        with pytest.raises(TypeError, match="kept"):
            check_kept(kept, pruned, original)
