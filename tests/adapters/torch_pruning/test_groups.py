from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import FOADImportance, prune
from foad_plugins.adapters.torch_pruning import groups as g
from foad_plugins.adapters.torch_pruning.graph import build_graph, prunable_groups
from foad_plugins.calibration.collect import calibrate
from foad_plugins.calibration.data import CalibrationData, Call
from foad_plugins.calibration.observers import HookPoint
from foad_plugins.criterion.similarity import channel_similarity
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens, seeded_norms

IMAGES = torch.rand(5, 3, 8, 8, generator=generator())


def graph_of(model, images=IMAGES):
    return build_graph(model.eval(), Call((images[:1],), images))


def group_of(graph, layer):
    prune = tp.prune_linear_out_channels if isinstance(layer, nn.Linear) else tp.prune_conv_out_channels
    width = graph.get_out_channels(layer)
    return graph.get_pruning_group(layer, prune, list(range(width)))


def similarity_of(model, layer, images=IMAGES):
    group = g.CoupledGroup.of(group_of(graph_of(model, images), layer))
    return group, calibrate(model, CalibrationData(images), [group])[0][0].compute()


def hook_points_of(group):
    return {(point.module, point.side) for point in group.hook_points}


def inputs_of(model, *layers):
    """The inputs of layers, by hooks of the test."""
    seen = {}
    handles = [
        layer.register_forward_pre_hook(lambda module, args: seen.__setitem__(module, args[0].clone()))
        for layer in layers
    ]
    with torch.no_grad():
        model.eval()(IMAGES)
    for handle in handles:
        handle.remove()
    return [seen[layer] for layer in layers]


def test_a_chain_is_observed_after_norm_activation_and_pooling():
    model = seeded_norms(Chain())
    group, similarity = similarity_of(model, model.conv1)
    assert hook_points_of(group) == {(model.conv2, "input")}
    torch.testing.assert_close(similarity, channel_similarity(inputs_of(model, model.conv2)[0]))
    assert group.name == "conv1"


def test_flatten_gives_each_channel_its_columns():
    model = seeded_norms(Chain())
    group, similarity = similarity_of(model, model.conv2)
    assert group.hook_points[0].channel_index.shape == (12, 4)
    maps = inputs_of(model, model.fc)[0].unflatten(1, (12, 4))
    torch.testing.assert_close(similarity, channel_similarity(maps))


def test_a_residual_stage_is_the_mean_over_its_tensors():
    model = Residual()
    group, similarity = similarity_of(model, model.stem)
    assert hook_points_of(group) == {(layer, "input") for layer in (model.block1[0], model.block2, model.fc)}
    maps = inputs_of(model, model.block1[0], model.block2, model.fc)
    torch.testing.assert_close(similarity, torch.stack([channel_similarity(each) for each in maps]).mean(0))


@pytest.mark.parametrize(("branch", "part"), [("left", slice(0, 6)), ("right", slice(6, 10))])
def test_concatenated_branches_are_observed_each_in_its_slice(branch, part):
    model = Concat()
    _, similarity = similarity_of(model, getattr(model, branch))
    torch.testing.assert_close(similarity, channel_similarity(inputs_of(model, model.join)[0][:, part]))


def test_a_gate_and_what_it_gates_are_one_group():
    model = Concat()
    group, similarity = similarity_of(model, model.excite)
    assert hook_points_of(group) == {(model.squeeze, "input"), (model.last, "input")}
    maps = inputs_of(model, model.squeeze, model.last)
    torch.testing.assert_close(similarity, torch.stack([channel_similarity(each) for each in maps]).mean(0))


def test_tokens_are_positions():
    model, tokens = Tokens(), torch.rand(4, 7, 6)
    _, similarity = similarity_of(model, model.hidden, tokens)
    with torch.no_grad():
        hidden = nn.functional.gelu(model.hidden(model.embed(tokens)))
    torch.testing.assert_close(similarity, channel_similarity(hidden.transpose(1, 2)))


class _Doubled(nn.Module):
    """A consumer that gets each channel twice, once unchanged and once rectified."""

    def __init__(self):
        super().__init__()
        self.make = nn.Conv2d(3, 4, 3)
        self.read = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.make(x)
        return self.read(torch.cat([x, x.relu()], dim=1)).mean((2, 3))


def test_a_channel_consumed_twice_counts_with_both():
    model = _Doubled()
    group, similarity = similarity_of(model, model.make)
    assert group.hook_points[0].channel_index.tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]
    both = inputs_of(model, model.read)[0].unflatten(1, (2, 4)).transpose(1, 2)
    torch.testing.assert_close(similarity, channel_similarity(both))


class _Halves(nn.Module):
    """Two consumers of one half of the channels each."""

    def __init__(self):
        super().__init__()
        self.make = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.a = nn.Conv2d(4, 2, 1)
        self.b = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        a, b = self.norm(self.make(x)).relu().chunk(2, dim=1)
        return self.a(a).mean((2, 3)) + self.b(b).mean((2, 3))


def test_without_a_consumer_of_all_channels_the_producers_are_observed_after_their_norm():
    model = seeded_norms(_Halves())
    group, similarity = similarity_of(model, model.make)
    assert hook_points_of(group) == {(model.norm, "output")}
    with torch.no_grad():
        torch.testing.assert_close(similarity, channel_similarity(model.norm(model.make(IMAGES))))


def test_layer_norm_is_observed_where_its_channels_are():
    point = HookPoint(nn.LayerNorm(8), "output")
    last, first = torch.rand(2, 5, 6, 8), torch.rand(2, 8, 5, 6)
    assert torch.equal(point.maps(last), last.permute(0, 3, 1, 2))
    assert point.maps(first) is first


def test_a_head_is_observed_at_its_output():
    model = Chain()
    group, similarity = similarity_of(model, model.fc)
    assert hook_points_of(group) == {(model.fc, "output")}
    with torch.no_grad():
        torch.testing.assert_close(similarity, channel_similarity(model(IMAGES)))


def test_output_groups_are_told_from_the_rest():
    model = Chain()
    graph = graph_of(model)
    assert [group.name for group in prunable_groups(graph, []) if group.is_output] == ["fc"]
    softmaxed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 6), nn.Flatten(), nn.Softmax(1))
    names = [group.name for group in prunable_groups(graph_of(softmaxed), []) if group.is_output]
    assert names == ["2"]


def test_outputs_that_are_consumed_as_well_are_outputs():
    class Levels(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3), nn.Conv2d(6, 2, 3)

        def forward(self, x):
            first = self.first(x).relu()
            return [first, self.third(self.second(first).relu())]

    graph = graph_of(Levels())
    names = [group.name for group in prunable_groups(graph, []) if group.is_output]
    assert sorted(names) == ["first", "third"]


def test_channel_groups_must_lose_the_same_indices():
    assert g.CoupledGroup.of(group_of(graph_of(model := Chain(groups=4)), model.conv1)).channel_groups == 4
    assert g.CoupledGroup.of(group_of(graph_of(model := Chain(norm="group")), model.conv1)).channel_groups == 2
    assert g.CoupledGroup.of(group_of(graph_of(model := Residual()), model.stem)).channel_groups == 1


@pytest.mark.parametrize(("sizes", "channel_groups"), [([8, 8], 2), ([4, 4, 4, 4], 4), ([4, 12], 1)])
def test_split_channels_that_are_combined_are_channel_groups(sizes, channel_groups):
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 16, 3)
            self.rest = nn.ModuleList([nn.Conv2d(width, 2, 1) for width in dict.fromkeys(sizes)])

        def forward(self, x):
            maps = self.first(x).split(sizes, 1)
            if len(self.rest) > 1:
                return sum(layer(part) for layer, part in zip(self.rest, maps, strict=True))
            return self.rest[0](torch.stack(maps).amax(0) if len(maps) > 2 else torch.maximum(*maps))

    model = Split()
    assert g.CoupledGroup.of(group_of(graph_of(model), model.first)).channel_groups == channel_groups


def test_the_similarity_of_channel_groups_is_their_mean():
    similarity = channel_similarity(torch.rand(3, 12, 4, 4))
    joint = g.mean_over_channel_groups(similarity, 3)
    assert joint.shape == (4, 4)
    for i in range(4):
        for j in range(4):
            expected = (similarity[i, j] + similarity[4 + i, 4 + j] + similarity[8 + i, 8 + j]) / 3
            torch.testing.assert_close(joint[i, j], expected)


def test_a_partial_group_is_completed():
    model = Chain()
    graph = graph_of(model)
    part = graph.get_pruning_group(model.conv1, tp.prune_conv_out_channels, [2, 6])
    assert g.full_group(part)[0].idxs == list(range(8))
    whole = group_of(graph, model.conv1)
    assert g.full_group(whole) is whole


def test_a_frozen_model_can_be_traced_and_stays_frozen():
    model = Chain().requires_grad_(False)
    assert len(prunable_groups(graph_of(model), [])) == 3
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_group_rooted_at_its_consumer():
    model = Chain()
    other = g.CoupledGroup.of(group_of(graph_of(model), model.conv1)).rooted_at_consumer()
    assert other.group[0].dep.target.module is model.conv2
    assert len(other.group[0].idxs) == 8
    assert g.CoupledGroup.of(group_of(graph_of(model), model.fc)).rooted_at_consumer() is None


def test_a_coupled_group_is_analyzed_once():
    model = Chain(groups=4)
    group = g.CoupledGroup.of(group_of(graph_of(model), model.conv1))
    assert g.CoupledGroup.of(group) is group
    assert (group.name, group.num_channels, group.channel_groups, group.channels_per_group) == ("conv1", 8, 4, 2)
    assert group.layers[0] is model.conv1
    assert group.layer_names[0] == "conv1"
    assert group.root_indices([1]) == [1, 3, 5, 7]
    assert group.consumed([0, 5]) == {model.conv2: [0, 5]}
    assert sorted(group.partial([1, 3, 5, 7])[0].idxs) == [1, 3, 5, 7]
    assert (group.is_output, group.verifiable) == (False, True)


def test_a_normalization_over_channels_is_not_verifiable():
    model = Chain(norm="group")
    assert not g.CoupledGroup.of(group_of(graph_of(model), model.conv1)).verifiable


def features_as_maps():
    return nn.Sequential(
        nn.Linear(16, 32 * 4),
        nn.ReLU(),
        nn.Unflatten(1, (32, 2, 2)),
        nn.Conv2d(32, 16, 1),
        nn.ReLU(),
        nn.Conv2d(16, 3, 1),
    ).eval()


@pytest.mark.parametrize(("ratio", "left"), [(0.1, 28), (0.5, 16)])
def test_features_that_form_channels_are_removed_in_blocks(ratio, left):
    model, data = features_as_maps(), torch.rand(64, 16)
    group = (
        tp.DependencyGraph()
        .build_dependency(model, data[:1])
        .get_pruning_group(model[0], tp.prune_linear_out_channels, list(range(128)))
    )
    scores = FOADImportance(data)(group)
    assert scores.shape == (128,)
    assert scores.unique().numel() == 32
    assert torch.equal(scores.view(32, 4), scores[::4, None].expand(-1, 4))
    tp.pruner.MetaPruner(
        model, (data[:1],), importance=FOADImportance(data), pruning_ratio=ratio, ignored_layers=[model[5]]
    ).step()
    # Torch-Pruning rounds up.
    assert (model[0].out_features, model[3].in_channels) == (4 * left, left)


def test_features_that_form_channels_are_pruned_and_reshaped():
    model, data = features_as_maps(), torch.rand(64, 16)
    report = prune(model, data, pruning_ratio=0.5, measure_latency=False)
    assert (model[0].out_features, model[2].unflattened_size, model[3].in_channels) == (64, (16, 2, 2), 16)
    first = report.groups[0]
    assert (first.name, first.layers, first.verification) == ("0", ("0",), "verified")
    assert report.notes == ()
    assert model(data).shape == (64, 3, 2, 2)


class _WrittenDown(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.conv, self.head = nn.Linear(16, 128), nn.Conv2d(32, 16, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x):
        return self.head(self.conv(self.fc(x).relu().view(-1, 32, 2, 2)).relu())


def test_features_that_form_channels_by_numbers_in_the_code_are_kept_with_a_note():
    model, data = _WrittenDown(), torch.rand(64, 16)
    report = prune(model, data, pruning_ratio=0.5, measure_latency=False)
    assert (model.fc.out_features, model.conv.out_channels) == (128, 8)
    assert report.kept_layers["fc"].startswith("the pruned network fails")
