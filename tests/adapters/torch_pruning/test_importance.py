from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch_pruning as tp
from torch import nn

from foad_plugins import (
    FOADImportance,
    UnscoredGroupWarning,
    channel_similarity,
    count_params,
    elimination_order,
    greedy_select,
)
from foad_plugins.calibration.data import CalibrationData
from foad_plugins.recovery.patch_statistics import patch_statistics
from tests.helpers.seeds import generator
from tests.networks.small_networks import Chain, Concat, Residual, Tokens, seeded_norms

IMAGES = torch.rand(6, 3, 8, 8, generator=generator())
TOKENS = torch.rand(6, 7, 6, generator=generator(1))


def pruner(model, importance, images=IMAGES, kind=tp.pruner.MetaPruner, **options):
    head = list(model.children())[-1]
    fresh = {"in_channel_groups": {}, "out_channel_groups": {}, "num_heads": {}}
    settings = {"pruning_ratio": 0.5, "ignored_layers": [head], **fresh, **options}
    return kind(model, (images[:1],), importance=importance, **settings)


def groups_of(model, images=IMAGES):
    graph = tp.DependencyGraph().build_dependency(model, (images[:1],))
    return {graph._module2name[group[0].dep.target.module]: group for group in graph.get_all_groups()}


@pytest.mark.parametrize("kind", [tp.pruner.MetaPruner, tp.pruner.BasePruner])
def test_the_use_in_one_line(kind):
    model = seeded_norms(Chain())
    pruner(model, FOADImportance(IMAGES), kind=kind).step()
    assert (model.conv1.out_channels, model.conv2.in_channels, model.conv2.out_channels) == (4, 4, 6)
    assert model.fc.in_features == 24
    model(IMAGES).sum().backward()


@pytest.mark.parametrize("order", ["rounds", "backward"])
def test_scores_follow_the_order_of_the_consumers_input(order):
    model = seeded_norms(Chain()).eval()
    with torch.no_grad():
        maps = nn.functional.max_pool2d(model.norm1(model.conv1(IMAGES)).relu(), 2)
    expected = elimination_order(channel_similarity(maps), order).importance()
    torch.testing.assert_close(FOADImportance(IMAGES, order=order)(groups_of(model)["conv1"]), expected)


def test_the_removed_channels_have_the_lowest_scores():
    model = seeded_norms(Chain()).eval()
    scores = FOADImportance(IMAGES)(groups_of(model)["conv1"])
    weight = model.conv1.weight.detach().clone()
    pruner(model, FOADImportance(IMAGES)).step()
    assert torch.equal(model.conv1.weight, weight[scores.argsort()[4:].sort().values])


@pytest.mark.parametrize(
    "network", [Chain, Residual, Concat, lambda: Chain(groups=4), lambda: Chain(norm="group"), Tokens]
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"global_pruning": True},
        {"global_pruning": True, "isomorphic": True},
        {"round_to": 4},
        {"iterative_steps": 2},
        {"max_pruning_ratio": 0.6},
    ],
    ids=lambda options: "-".join(options) or "local",
)
def test_group_kinds_under_the_pruners_options(network, options):
    model = seeded_norms(network())
    images = TOKENS if isinstance(model, Tokens) else IMAGES
    before = count_params(model)
    widths = {layer: layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)}
    tool = pruner(model, FOADImportance(images), images, **options)
    for _ in range(options.get("iterative_steps", 1)):
        tool.step()
    model(images).sum().backward()
    if "round_to" in options and any(layer.groups == 4 for layer in widths):
        return  # Torch-Pruning rounds relative indices against whole widths, and then refuses to remove them all.
    assert count_params(model) < before
    if "round_to" in options:
        changed = [layer.out_channels for layer, width in widths.items() if layer.out_channels != width]
        assert changed or not widths
        assert all(width % 4 == 0 for width in changed)


def test_ratios_by_layer_and_ignored_layers():
    model = Chain()
    tool = pruner(model, FOADImportance(IMAGES), pruning_ratio=0.0, pruning_ratio_dict={model.conv2: 0.75})
    tool.step()
    assert (model.conv1.out_channels, model.conv2.out_channels) == (8, 3)
    model = Chain()
    pruner(model, FOADImportance(IMAGES), ignored_layers=[model.conv1, model.fc]).step()
    assert (model.conv1.out_channels, model.conv2.out_channels) == (8, 6)


def test_interactive_steps():
    model = Chain()
    names = [group[0].dep.target.name for group in pruner(model, FOADImportance(IMAGES)).step(interactive=True)]
    assert len(names) == 2
    assert model.conv1.out_channels == 8
    for group in pruner(model, FOADImportance(IMAGES)).step(interactive=True):
        group.prune()
    assert model.conv1.out_channels == 4


def test_one_calibration_serves_all_groups_of_a_step_and_none_the_next():
    calls = []
    importance = FOADImportance(IMAGES, forward_fn=lambda model, batch: (calls.append(1), model(batch)))
    model = Chain()
    tool = pruner(model, importance, iterative_steps=2)
    tool.step()
    assert len(calls) == 1
    tool.step()
    assert len(calls) == 2


@pytest.mark.parametrize("data", ["list", "iterator"])
def test_less_memory_needs_more_passes_and_gives_the_same_scores(data):
    model = Residual()
    runs = []
    model.register_forward_hook(lambda *_: runs.append(1))
    groups = list(groups_of(model).values())
    expected = [FOADImportance(IMAGES)(group) for group in groups]
    runs.clear()
    batches = list(IMAGES.split(3))
    importance = FOADImportance(batches if data == "list" else iter(batches), max_memory=1)
    for group, scores in zip(groups, expected, strict=True):
        assert torch.equal(importance(group), scores)
    assert len(groups) > 1
    assert len(runs) == 2 * len(groups)


def test_a_limit_that_holds_all_groups_needs_one_pass():
    model, runs = Residual(), []
    model.register_forward_hook(lambda *_: runs.append(1))
    groups = list(groups_of(model).values())
    runs.clear()
    importance = FOADImportance(IMAGES, max_memory=1.0)
    assert all(importance(group) is not None for group in groups)
    assert len(runs) == 1


def test_buffers_that_hold_nan_or_complex_numbers_are_no_change():
    calls = []
    importance = FOADImportance(IMAGES, forward_fn=lambda model, batch: (calls.append(1), model(batch)))
    model = Chain()
    model.register_buffer("unset", torch.full((2,), float("nan")))
    model.register_buffer("turns", torch.polar(torch.ones(2), torch.arange(2.0)))
    pruner(model, importance).step()
    assert len(calls) == 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_calibrates_for_itself(duplicate):
    model = seeded_norms(Chain()).eval()
    importance = FOADImportance(IMAGES, order="reconstruction").calibrate(model)
    group = groups_of(model)["conv1"]
    assert torch.equal(duplicate(importance)(group), importance(group))


@pytest.mark.parametrize("change", ["weight", "data", "statistics", "replaced", "model"])
def test_stale_statistics_are_never_used(change):
    model = seeded_norms(Chain()).eval()
    importance = FOADImportance(IMAGES)
    before = importance.similarity(groups_of(model)["conv1"])
    with torch.no_grad():
        if change == "weight":
            model.conv1.weight.mul_(2)
        elif change == "data":
            model.conv1.weight.data.mul_(2)
        elif change == "statistics":
            model.train()(IMAGES)
            model.eval()
        elif change == "replaced":
            model.conv1.weight = nn.Parameter(model.conv1.weight * 2)
        else:
            model = copy.deepcopy(model)
            model.conv1.weight.mul_(2)
    after = importance.similarity(groups_of(model)["conv1"])
    assert not torch.equal(after, before)
    assert torch.equal(after, FOADImportance(IMAGES).similarity(groups_of(model)["conv1"]))


def test_grouped_convolutions_share_one_score_per_relative_index():
    model = seeded_norms(Chain(groups=4)).eval()
    group = groups_of(model)["conv1"]
    scores = FOADImportance(IMAGES)(group).view(4, 2)
    assert torch.equal(scores, scores[:1].expand(4, 2))
    selection = FOADImportance(IMAGES).selection(group)
    assert selection.num_channels == 2


def test_part_of_a_group_gets_its_part_of_the_scores():
    model = Chain().eval()
    whole = groups_of(model)["conv1"]
    part = whole._DG.get_pruning_group(model.conv1, tp.prune_conv_out_channels, [6, 2])
    scores = FOADImportance(IMAGES)
    assert torch.equal(scores(part), scores(whole)[[6, 2]])


def test_a_batch_in_parts_and_out_of_order_selects_the_same():
    model = seeded_norms(Residual()).eval()
    for group in groups_of(model).values():
        whole = FOADImportance(IMAGES).selection(group)
        assert FOADImportance(list(IMAGES.split(2))).selection(group) == whole
        assert FOADImportance(IMAGES[torch.randperm(6)]).selection(group) == whole


def test_calibrating_by_hand_reads_a_generator_once():
    model = Chain()
    read = []

    def batches():
        for part in IMAGES.split(2):
            read.append(len(part))
            yield part, torch.zeros(2)

    importance = FOADImportance(order="backward").calibrate(model, batches())
    assert read == [2, 2, 2]
    group = groups_of(model)["conv1"]
    assert torch.equal(importance(group), FOADImportance(IMAGES, order="backward")(group))
    with torch.no_grad():
        model.conv1.weight.mul_(3)
    with pytest.raises(ValueError, match="can be read only once"):
        importance(group)


class _Sometimes(nn.Module):
    """A branch that calibration never takes."""

    def __init__(self):
        super().__init__()
        self.always = nn.Conv2d(3, 4, 3)
        self.spare = nn.Conv2d(3, 6, 3)
        self.read = nn.Conv2d(6, 4, 1)
        self.fc = nn.Linear(4, 2)
        self.both = True

    def forward(self, x):
        maps = self.always(x)
        if self.both:
            maps = maps + self.read(self.spare(x))
        return self.fc(maps.mean((2, 3)))


def test_a_group_that_never_runs_gets_no_score_and_a_warning():
    model = _Sometimes()
    tool = pruner(model, FOADImportance(IMAGES))
    model.both = False
    with pytest.warns(UnscoredGroupWarning, match="group of layer 'spare' was observed"):
        tool.step()
    assert model.spare.out_channels == 6
    assert model.always.out_channels == 2


def test_the_error_without_data_says_how_to_pass_it():
    with pytest.raises(ValueError, match=r"FOADImportance\(images\), or call calibrate"):
        FOADImportance()(groups_of(Chain())["conv1"])
    with pytest.raises(ValueError, match=r"no calibration data.* call pruner\.reset\(\) before the next step"):
        FOADImportance().calibrate(Chain())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"neighbors": 0}, ValueError, "neighbors"),
        ({"threshold": 2}, ValueError, "threshold"),
        ({"order": "sideways"}, ValueError, "order must be one of"),
        ({"max_batches": 0}, ValueError, "max_batches must be None or at least 1, got 0"),
        ({"data": "images"}, TypeError, "data must be"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        FOADImportance(**options)


def test_layers_of_one_channel_are_no_error():
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    pruner(model, FOADImportance(IMAGES)).step()
    assert model[0].out_channels == 1
    assert model[1].out_channels == 2


def test_selection_is_the_published_rule():
    model = seeded_norms(Chain()).eval()
    group = groups_of(model)["conv1"]
    importance = FOADImportance(IMAGES, neighbors=2, threshold=0.1)
    assert importance.selection(group) == greedy_select(importance.similarity(group), 2, 0.1)


class _Attention(nn.Module):
    """Self-attention with one projection for queries, keys and values, in timm's way."""

    def __init__(self, width=16, heads=2):
        super().__init__()
        self.heads = heads
        self.head_dim = width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        count, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        x = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(count, tokens, -1))


def test_attention_is_rooted_where_torch_pruning_roots_it():
    calls = []

    def forward(model, batch):
        calls.append(1)
        return model(batch)

    model = nn.Sequential(nn.Linear(6, 16), _Attention(), _Attention(), nn.Linear(16, 3))
    heads = {block.qkv: 2 for block in (model[1], model[2])}
    tool = pruner(model, FOADImportance(TOKENS, forward_fn=forward), TOKENS, num_heads=heads, pruning_ratio=0.25)
    tool.step()
    assert len(calls) <= 2
    assert model[1].qkv.out_features == 36
    assert model[1].proj.in_features == 12
    model(TOKENS).sum().backward()


def test_the_order_by_patches_is_that_of_the_consumers_patches():
    model, images = Chain().eval(), torch.rand(12, 3, 8, 8, generator=generator())
    importance = FOADImportance(images, order="patches")
    graph = tp.DependencyGraph().build_dependency(model, images[:1])
    ranked = {
        name: importance.ranking(graph.get_pruning_group(getattr(model, name), tp.prune_conv_out_channels, [0]))
        for name in ("conv1", "conv2")
    }
    columns = {"conv1": torch.arange(8)[:, None], "conv2": torch.arange(48).view(12, 4)}
    for (name, channels), layer in zip(columns.items(), (model.conv2, model.fc), strict=True):
        term = patch_statistics(model, [model.conv2, model.fc], CalibrationData(images))[layer].term(channels)
        expected = elimination_order(torch.eye(len(channels)), "patches", terms=[term])
        assert ranked[name].name == "patches"
        assert ranked[name].sequence == expected.sequence


def test_groups_without_a_consumer_for_patches_are_ranked_by_reconstruction():
    model, images = Chain(groups=2).eval(), IMAGES
    graph = tp.DependencyGraph().build_dependency(model, images[:1])
    importance = FOADImportance(images, order="patches")
    assert (
        importance.ranking(graph.get_pruning_group(model.conv1, tp.prune_conv_out_channels, [0])).name
        == "reconstruction"
    )
